//! The system's randomness, from AWS-LC's generator. Tests elsewhere bring their own
//! [`Random`]; what `vault` itself draws always comes from here, so that no nonce and no key can
//! ever be made of a test's numbers.

use keyferry_domain::Random;

/// Unpredictable bytes, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::expect_used, reason = "going on without randomness would be worse")]
    fn fill(&self, bytes: &mut [u8]) {
        // INVARIANT: AWS-LC's RAND_bytes aborts the process rather than fail, so this never
        // panics; were it to fail, nothing that follows would be secret.
        aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_no_byte_is_left_out() {
        let (mut first, mut second) = ([0_u8; 32], [0_u8; 32]);
        SystemRandom.fill(&mut first);
        SystemRandom.fill(&mut second);
        assert_ne!(first, second);
        let mut seen = [0_u8; 64];
        for _ in 0..16 {
            let mut bytes = [0_u8; 64];
            SystemRandom.fill(&mut bytes);
            seen.iter_mut().zip(bytes).for_each(|(all, byte)| *all |= byte);
        }
        assert!(seen.iter().all(|byte| *byte != 0));
    }
}
