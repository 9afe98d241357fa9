//! The journal: the chain holds whatever happens, and nobody is told of what is not durable.

use std::sync::{Arc, Mutex};

use keyferry_domain::lease::Lease;
use keyferry_store::audit::{self, AuditRecord, FIRST_HASH};
use keyferry_store::journal::Entry;
use keyferry_store::{Journal, Store, StoreError, StoreOptions, leases, users};

use crate::world::{World, each};

/// A stand-in for the hash: long enough to tell every step apart.
pub(crate) fn link(previous: &str, canonical: &str) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (previous, canonical).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

pub(crate) fn entry(world: &World, lease: Option<Lease>) -> Entry {
    Entry { event: world.event(None, "lease.issue"), lease }
}

/// Reads a chain whole and checks every link.
async fn verified(store: &Store, chain: &str) -> Vec<AuditRecord> {
    let (mut all, mut previous): (Vec<AuditRecord>, _) = (Vec::new(), FIRST_HASH.to_owned());
    loop {
        let after = all.last().map_or(0, |record| record.sequence);
        let part = audit::read_chain(store, chain, after, 100).await.unwrap();
        if part.is_empty() {
            return all;
        }
        for record in part {
            assert_eq!(record.sequence, i64::try_from(all.len()).unwrap() + 1, "a gap");
            assert_eq!(record.previous_hash, previous);
            assert_eq!(record.hash, link(&previous, &record.canonical));
            assert_eq!(record.canonical, audit::canonical(&record.event));
            previous.clone_from(&record.hash);
            all.push(record);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_recorders_make_one_chain_without_gaps() {
    each(async |world| {
        let journal = Journal::start(world.store.clone(), "main", link);
        let organization = world.organization_id();
        let recorders: Vec<_> = (0..64)
            .map(|_| {
                let journal = journal.clone();
                let entries: Vec<_> =
                    (0..20).map(|_| entry(world, Some(world.lease(&organization, None)))).collect();
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for entry in entries {
                        let lease = entry.lease.as_ref().unwrap().id.clone();
                        done.push((journal.record(entry).await.unwrap(), lease));
                    }
                    done
                })
            })
            .collect();
        let mut done = Vec::new();
        for recorder in recorders {
            done.extend(recorder.await.unwrap());
        }
        let chain = verified(&world.store, "main").await;
        assert_eq!(chain.len(), 1280);
        for (event, lease) in done {
            let record = &chain[usize::try_from(event.sequence).unwrap() - 1];
            assert_eq!((&record.event, &record.hash), (&event.event, &event.hash));
            assert!(leases::find(&world.store, &organization, &lease).await.unwrap().is_some());
        }
        journal.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_the_chain_goes_on() {
    each(async |world| {
        let journal = Journal::start(world.store.clone(), "main", link);
        let first = journal.record(entry(world, None)).await.unwrap();
        // No close: the process is gone. Another one opens the same database.
        let store = Store::open(&world.url, StoreOptions::default()).await.unwrap();
        let restarted = Journal::start(store.clone(), "main", link);
        let second = restarted.record(entry(world, None)).await.unwrap();
        assert_eq!((first.sequence, second.sequence), (1, 2));
        assert_eq!(second.previous_hash, first.hash);
        assert_eq!(verified(&store, "main").await.len(), 2);
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_on_one_chain_do_not_break_it() {
    each(async |world| {
        let other = Store::open(&world.url, StoreOptions::default()).await.unwrap();
        let journals = [
            Journal::start(world.store.clone(), "main", link),
            Journal::start(other.clone(), "main", link),
        ];
        let recorders: Vec<_> = journals
            .iter()
            .map(|journal| {
                let journal = journal.clone();
                let entries: Vec<_> = (0..40).map(|_| entry(world, None)).collect();
                tokio::spawn(async move {
                    let mut count = 0;
                    for entry in entries {
                        count += usize::from(journal.record(entry).await.is_ok());
                    }
                    count
                })
            })
            .collect();
        let mut count = 0;
        for recorder in recorders {
            count += recorder.await.unwrap();
        }
        assert_eq!(count, 80);
        assert_eq!(verified(&world.store, "main").await.len(), 80);
        for journal in &journals {
            journal.close().await;
        }
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn servers_with_chains_of_their_own_do_not_meet() {
    each(async |world| {
        let a = Journal::start(world.store.clone(), "server-a", link);
        let b = Journal::start(world.store.clone(), "server-b", link);
        for _ in 0..3 {
            let (one, two) =
                tokio::join!(a.record(entry(world, None)), b.record(entry(world, None)));
            assert_eq!(one.unwrap().sequence, two.unwrap().sequence);
        }
        assert_eq!(audit::chains(&world.store).await.unwrap(), ["server-a", "server-b"]);
        assert_eq!(verified(&world.store, "server-a").await.len(), 3);
        assert_eq!(verified(&world.store, "server-b").await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_is_refused_hits_nobody_else_in_its_group() {
    each(async |world| {
        let journal = Journal::start(world.store.clone(), "main", link);
        let organization = world.organization_id();
        let lease = world.lease(&organization, None);
        journal.record(entry(world, Some(lease.clone()))).await.unwrap();
        let good: Vec<_> = (0..10).map(|_| entry(world, None)).collect();
        let bad = entry(world, Some(lease));
        let mut entries = good;
        entries.insert(5, bad.clone());
        // One thread runs them all, so they are all queued before the writer comes to its turn.
        let recorders: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                let journal = journal.clone();
                tokio::spawn(async move { journal.record(entry).await })
            })
            .collect();
        let mut refused = Vec::new();
        for recorder in recorders {
            refused.extend(recorder.await.unwrap().err());
        }
        assert!(matches!(refused[..], [StoreError::AlreadyExists { .. }]), "{refused:?}");
        let chain = verified(&world.store, "main").await;
        assert_eq!(chain.len(), 11);
        assert!(chain.iter().all(|record| record.event.id != bad.event.id));
    })
    .await;
}

#[tokio::test]
async fn closing_writes_what_waits_and_takes_no_more() {
    each(async |world| {
        let journal = Journal::start(world.store.clone(), "main", link);
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let (journal, entry) = (journal.clone(), entry(world, None));
                tokio::spawn(async move { journal.record(entry).await })
            })
            .collect();
        tokio::task::yield_now().await;
        journal.close().await;
        let mut written = 0;
        for one in waiting {
            match one.await.unwrap() {
                Ok(_) => written += 1,
                Err(error) => assert!(matches!(error, StoreError::Unavailable { source: None })),
            }
        }
        assert_eq!(verified(&world.store, "main").await.len(), written);
        let late = journal.record(entry(world, None)).await;
        assert!(matches!(late, Err(StoreError::Unavailable { source: None })));
        journal.close().await;
    })
    .await;
}

#[tokio::test]
async fn without_a_database_there_is_no_answer() {
    each(async |world| {
        let store = Store::open(&world.url, StoreOptions::default()).await.unwrap();
        let journal = Journal::start(store.clone(), "main", link);
        journal.record(entry(world, None)).await.unwrap();
        store.close().await;
        let error = journal.record(entry(world, None)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { source: Some(_) }), "{error:?}");
        assert_eq!(verified(&world.store, "main").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn any_text_is_kept_as_it_was_hashed() {
    each(async |world| {
        let journal = Journal::start(world.store.clone(), "main", link);
        let mut event = world.event(None, "lease.refuse");
        event.reason = Some("quotes \" ' \\ and \u{1F511}, NUL \0, \\u0000, tab\t".to_owned());
        event.data.insert("line\nbreak".to_owned(), "$1 '; DROP TABLE users; --".to_owned());
        let recorded = journal.record(event).await.unwrap();
        let chain = verified(&world.store, "main").await;
        assert_eq!(chain[0].hash, recorded.hash);
        let reason = chain[0].event.reason.as_deref().unwrap();
        assert!(reason.contains("NUL \u{fffd}, \\u0000"), "{reason}");
    })
    .await;
}

#[tokio::test]
async fn a_crash_between_statements_loses_nothing_that_was_acknowledged() {
    each(async |world| {
        let entries: Vec<_> = (0..2000).map(|_| entry(world, None)).collect();
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let doomed = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (told, mut progress) = tokio::sync::mpsc::unbounded_channel();
        let (url, acks) = (world.url.clone(), Arc::clone(&acknowledged));
        doomed.spawn(async move {
            let store = Store::open(&url, StoreOptions::default()).await.unwrap();
            let journal = Journal::start(store, "main", link);
            for entry in entries {
                let (journal, acks, told) = (journal.clone(), Arc::clone(&acks), told.clone());
                tokio::spawn(async move {
                    if let Ok(recorded) = journal.record(entry).await {
                        acks.lock().unwrap().push(recorded);
                        let _ = told.send(());
                    }
                });
            }
        });
        progress.recv().await.unwrap();
        // Every task stops where it is, between two statements of a group if need be.
        doomed.shutdown_background();

        let journal = Journal::start(world.store.clone(), "main", link);
        let next = journal.record(entry(world, None)).await.unwrap();
        let chain = verified(&world.store, "main").await;
        assert_eq!(chain.last().map(|record| &record.hash), Some(&next.hash));
        let acknowledged = acknowledged.lock().unwrap();
        assert!(!acknowledged.is_empty());
        for event in acknowledged.iter() {
            let record = &chain[usize::try_from(event.sequence).unwrap() - 1];
            assert_eq!((&record.event, &record.hash), (&event.event, &event.hash));
        }
    })
    .await;
}

#[tokio::test]
async fn a_change_and_its_event_are_one_commit() {
    each(async |world| {
        let journal = Journal::start(world.store.clone(), "main", link);
        journal.record(entry(world, None)).await.unwrap();
        let user = world.user_record("someone@example.com");

        // Given up before its commit: nothing of either is there.
        let mut change = world.store.begin().await.unwrap();
        users::create(&mut change, &user).await.unwrap();
        drop(change);
        assert_eq!(verified(&world.store, "main").await.len(), 1);

        let mut change = world.store.begin().await.unwrap();
        users::create(&mut change, &user).await.unwrap();
        let events = [world.event(None, "a.done"), world.event(None, "b.done")];
        let told = journal.commit(change, events).await.unwrap();
        assert_eq!(told.iter().map(|event| event.sequence).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(users::find(&world.store, &user.id).await.unwrap(), Some(user));
        // The writer goes on behind them.
        assert_eq!(journal.record(entry(world, None)).await.unwrap().sequence, 4);
        assert_eq!(verified(&world.store, "main").await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_change_whose_event_cannot_be_written_does_not_happen() {
    each(async |world| {
        let journal = Journal::start(world.store.clone(), "main", link);
        world.raw("ALTER TABLE audit_events RENAME TO lost_events").await;
        let user = world.user_record("someone@example.com");
        let mut change = world.store.begin().await.unwrap();
        users::create(&mut change, &user).await.unwrap();
        assert!(journal.commit(change, [world.event(None, "user.create")]).await.is_err());
        assert_eq!(users::find(&world.store, &user.id).await.unwrap(), None);
        // With a place to write to again, the chain goes on as if nothing had been.
        world.raw("ALTER TABLE lost_events RENAME TO audit_events").await;
        assert_eq!(journal.record(entry(world, None)).await.unwrap().sequence, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_and_the_writers_of_two_processes_make_one_chain() {
    each(async |world| {
        let other = Store::open(&world.url, StoreOptions::default()).await.unwrap();
        let journals = [
            (world.store.clone(), Journal::start(world.store.clone(), "main", link)),
            (other.clone(), Journal::start(other.clone(), "main", link)),
        ];
        let mut writers = Vec::new();
        for (store, journal) in &journals {
            let (recorder, entries) =
                (journal.clone(), (0..30).map(|_| entry(world, None)).collect::<Vec<_>>());
            writers.push(tokio::spawn(async move {
                for entry in entries {
                    recorder.record(entry).await.unwrap();
                }
            }));
            let (store, journal) = (store.clone(), journal.clone());
            let events: Vec<_> = (0..30).map(|_| world.event(None, "thing.change")).collect();
            writers.push(tokio::spawn(async move {
                for event in events {
                    let change = store.begin().await.unwrap();
                    journal.commit(change, [event]).await.unwrap();
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(verified(&world.store, "main").await.len(), 120);
        for (_, journal) in &journals {
            journal.close().await;
        }
        other.close().await;
    })
    .await;
}
