//! A change goes on when its caller hangs up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Runs within its caller as long as that waits, and by itself from then on: a task of its own from
/// the beginning would cost every request a change of threads.
pub(super) struct Lasting<F: Future<Output: Send> + Send + 'static> {
    change: Option<Pin<Box<F>>>,
    changes: TaskTracker,
    runtime: Handle,
}

impl<F: Future<Output: Send> + Send + 'static> Lasting<F> {
    /// Wraps a change; what is left of it when this is dropped becomes one of `changes`. To be
    /// called within the runtime.
    pub(super) fn new(changes: &TaskTracker, change: F) -> Self {
        Self {
            change: Some(Box::pin(change)),
            changes: changes.clone(),
            runtime: Handle::current(),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Lasting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(change) = &mut self.change else { return Poll::Pending };
        let poll = change.as_mut().poll(context);
        if poll.is_ready() {
            self.change = None;
        }
        poll
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Lasting<F> {
    fn drop(&mut self) {
        // One that panicked is not to be polled again.
        if let Some(change) = self.change.take()
            && !std::thread::panicking()
        {
            self.changes.spawn_on(change, &self.runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    async fn count_twice(counter: Arc<AtomicU32>) -> u32 {
        counter.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        counter.fetch_add(1, Ordering::SeqCst) + 1
    }

    #[tokio::test]
    async fn a_caller_who_waits_gets_the_outcome_and_nothing_is_left() {
        let (changes, counter) = (TaskTracker::new(), Arc::default());
        assert_eq!(Lasting::new(&changes, count_twice(counter)).await, 2);
        assert!(changes.is_empty());
    }

    #[tokio::test]
    async fn a_change_ends_although_its_caller_has_gone_and_is_waited_for() {
        let (changes, counter) = (TaskTracker::new(), Arc::default());
        let change = Lasting::new(&changes, count_twice(Arc::clone(&counter)));
        assert!(tokio::time::timeout(Duration::from_millis(1), change).await.is_err());
        assert_eq!(counter.load(Ordering::SeqCst), 1);
        changes.close();
        changes.wait().await;
        assert_eq!(counter.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_change_that_nobody_began_to_wait_for_is_done_as_well() {
        let (changes, counter) = (TaskTracker::new(), Arc::default());
        drop(Lasting::new(&changes, count_twice(Arc::clone(&counter))));
        changes.close();
        changes.wait().await;
        assert_eq!(counter.load(Ordering::SeqCst), 2);
    }
}
