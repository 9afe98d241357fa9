//! Two servers on one database: what one of them changes, the other believes for two seconds at
//! the most. On SQLite, and on a real PostgreSQL.

use std::time::{Duration, Instant};

use keyferry_domain::operation::{Access, Operation};

use crate::fixture::{TestBroker, each_url};
use crate::gitea::Gitea;

/// The two seconds, and what a busy machine may take on top.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ended_on_one_server_is_soon_not_handed_over_again_by_another() {
    each_url(async |url| {
        let test = TestBroker::start_at(url, tempfile::tempdir().unwrap(), None).await;
        let (broker, organization) = (&test.broker, &test.organization);
        let other = test.open_again().await;
        let gitea = Gitea::start("secret-1").await;
        let forge = test.connect("forge", gitea.url(), "secret-1").await;
        let holder = test.workload(&test.owner, &[forge.clone()]).await;
        let ask = async |access: Access| {
            let read = Operation::Git { repository: Some("team/app".parse().unwrap()), access };
            broker.issue_lease(&holder, organization, &forge, &read).await.unwrap().id
        };
        let stays = ask(Access::Write).await;
        let mut minted = 1;
        for is_rejected in [false, true] {
            let ended = ask(Access::Read).await;
            minted += 1;
            assert_eq!(ask(Access::Read).await, ended, "asking again gives the same");
            if is_rejected {
                other.report_rejection(&test.owner, organization, &ended).await.unwrap();
            } else {
                other.end_lease(&test.owner, organization, &ended).await.unwrap();
            }
            let since = Instant::now();
            let mut asked = ask(Access::Read).await;
            while asked == ended {
                assert!(since.elapsed() < SOON, "it is still handed over: {}", test.url);
                tokio::time::sleep(Duration::from_millis(50)).await;
                asked = ask(Access::Read).await;
            }
            minted += 1;
            assert_eq!(ask(Access::Read).await, asked, "the new one is kept");
            assert_eq!(ask(Access::Write).await, stays, "what has not ended is kept");
            assert_eq!(gitea.minted(), minted);
            other.end_lease(&test.owner, organization, &asked).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2_100)).await;
        }
        other.close().await;
        broker.close().await;
    })
    .await;
}
