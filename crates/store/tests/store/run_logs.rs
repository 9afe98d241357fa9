//! Logs.

use keyferry_store::run_logs::{self, LogChunkRecord};

use crate::world::each;

#[tokio::test]
async fn a_chunk_that_is_sent_again_is_kept_once() {
    each(async |world| {
        let (organization, job) = (world.organization_id(), world.job_id());
        let chunk = |sequence: i64, text: &str| LogChunkRecord {
            organization_id: organization.clone(),
            job_id: job.clone(),
            sequence,
            text: text.to_owned(),
            at: world.now(),
        };
        assert!(run_logs::append(&world.store, &chunk(0, "one\n")).await.unwrap());
        assert!(run_logs::append(&world.store, &chunk(1, "zw\0ei\n")).await.unwrap());
        assert!(!run_logs::append(&world.store, &chunk(0, "other\n")).await.unwrap());
        assert!(run_logs::append(&world.store, &chunk(10, "ten\n")).await.unwrap());
        let read = async |after: i64, limit: u32| {
            let chunks = run_logs::read(&world.store, &organization, &job, after, limit).await;
            chunks.unwrap().into_iter().map(|c| (c.sequence, c.text)).collect::<Vec<_>>()
        };
        let all = read(-1, 9).await;
        assert_eq!(all[0], (0, "one\n".to_owned()));
        assert_eq!(all[1], (1, "zw\u{fffd}ei\n".to_owned()));
        assert_eq!(all[2].0, 10);
        assert_eq!(read(0, 1).await, all[1..2]);
        assert!(read(10, 9).await.is_empty());
        let last = run_logs::last_sequence(&world.store, &organization, &job).await.unwrap();
        assert_eq!(last, 10);
        let size = run_logs::size_bytes(&world.store, &organization, &job).await.unwrap();
        assert_eq!(size, i64::try_from("one\nzw\u{fffd}ei\nten\n".len()).unwrap());
        let other = world.organization_id();
        assert_eq!(run_logs::last_sequence(&world.store, &other, &job).await.unwrap(), 0);
        assert_eq!(run_logs::size_bytes(&world.store, &other, &job).await.unwrap(), 0);
        let seen = run_logs::read(&world.store, &other, &job, -1, 9).await.unwrap();
        assert!(seen.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_does_not_grow_without_bound() {
    each(async |world| {
        let Some(path) = world.url.strip_prefix("sqlite://") else { return };
        let text = "x".repeat(256 * 1024);
        let (organization, job) = (world.organization_id(), world.job_id());
        let mut largest = 0;
        for sequence in 0..1000 {
            let chunk = LogChunkRecord {
                organization_id: organization.clone(),
                job_id: job.clone(),
                sequence,
                text: text.clone(),
                at: world.now(),
            };
            assert!(run_logs::append(&world.store, &chunk).await.unwrap());
            largest = largest.max(std::fs::metadata(format!("{path}-wal")).unwrap().len());
        }
        let mebibytes = largest / (1024 * 1024);
        assert!(mebibytes < 160, "{mebibytes} MiB of log for 250 MiB written");
    })
    .await;
}
