//! Ctrl-C and SIGTERM: the demo ends by tidying up, not by being cut off.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Tells whether someone asked this program to stop.
#[derive(Clone)]
pub(super) struct Interrupt(Arc<(Mutex<bool>, Condvar)>);

impl Interrupt {
    /// Takes the signals from now on; they no longer end this program by themselves.
    pub(super) fn watch() -> Result<Self> {
        let interrupt = Self(Arc::default());
        let watched = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("failed to listen for signals")?;
        let (mut interrupts, mut terminations) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
            });
            watched.come();
        });
        Ok(interrupt)
    }

    fn come(&self) {
        let (has_come, waiting) = &*self.0;
        *has_come.lock().unwrap_or_else(PoisonError::into_inner) = true;
        waiting.notify_all();
    }

    /// Says whether a signal has come.
    pub(super) fn has_come(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a signal.
    pub(super) fn wait(&self) {
        let (has_come, waiting) = &*self.0;
        let mut is_over = has_come.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_over {
            is_over = waiting.wait(is_over).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_when_it_comes() {
        let interrupt = Interrupt(Arc::default());
        assert!(!interrupt.has_come());
        let waiting = interrupt.clone();
        let waiter = std::thread::spawn(move || waiting.wait());
        interrupt.come();
        waiter.join().unwrap();
        assert!(interrupt.has_come());
        interrupt.wait();
    }
}
