//! Waiting for something to become true, with a deadline instead of a guess.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long between two looks; short beside the starts and stops that are waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// Calls `look` until it finds something; fails, naming `what`, after `limit`.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs_f32());
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_is_found() {
        let mut looks = 0;
        let found = wait_until("third look", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn what_never_comes_is_named() {
        let found = wait_until::<()>("the sun", Duration::from_millis(10), || Ok(None));
        assert!(found.unwrap_err().to_string().starts_with("the sun: not within"));
    }

    #[test]
    fn a_failed_look_ends_the_wait() {
        let found = wait_until::<()>("x", Duration::from_mins(1), || bail!("gone"));
        assert_eq!(found.unwrap_err().to_string(), "gone");
    }
}
