//! Hides secrets in a stream of log bytes.
//!
//! A seat belt, not a wall: a job that means to leak what it was given can always spell it another
//! way. [`Patterns`] holds what to hide, in the spellings tools print; [`Masker`] is one stream. Where
//! the values come from is the runner's business.

mod automaton;
mod patterns;

use std::collections::VecDeque;
use std::sync::Arc;

use keyferry_domain::secret::MASK;

pub use patterns::{MINIMUM_BYTES, Patterns};

/// One stream of bytes with secrets hidden: replaced by four stars, wherever it is cut into chunks.
///
/// Line breaks inside a secret's spelling are looked through (base64 is printed in lines of 76), and
/// stay in the output. Only bytes that may still turn out to be a secret are held back.
pub struct Masker {
    patterns: Arc<Patterns>,
    state: u32,
    held: VecDeque<u8>,
    /// What the last [`Self::settle`] let go, as long as it may still be the beginning of a secret.
    settled: Vec<u8>,
    /// How many of the held bytes are not line breaks.
    held_significant: usize,
    /// Index of the next byte that is not a line break, counted from the stream's start.
    next_index: u64,
    /// Disjoint half-open ranges of indexes to hide, in ascending order.
    hidden: VecDeque<(u64, u64)>,
    /// The last byte written was part of a mask.
    in_mask: bool,
}

impl std::fmt::Debug for Masker {
    /// Says nothing of the bytes held back: they may be the first half of a secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Masker")
            .field("held_bytes", &self.held.len())
            .finish_non_exhaustive()
    }
}

const fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

impl Masker {
    /// Starts a stream.
    pub fn new(patterns: Arc<Patterns>) -> Self {
        Self {
            patterns,
            state: 0,
            held: VecDeque::new(),
            settled: Vec::new(),
            held_significant: 0,
            next_index: 0,
            hidden: VecDeque::new(),
            in_mask: false,
        }
    }

    /// Takes a new set of patterns, from the next byte on and for what is held back.
    pub fn update(&mut self, patterns: Arc<Patterns>) {
        self.patterns = patterns;
        self.state = 0;
        let mut open = self.settled.clone();
        open.extend(self.held_significant_bytes());
        let mut index = self.next_index - open.len() as u64;
        for byte in open {
            index += 1;
            self.step(byte, index);
        }
    }

    /// Takes bytes and returns those that are certain by now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.held.push_back(byte);
            if !is_line_break(byte) {
                self.held_significant += 1;
                self.next_index += 1;
                self.step(byte, self.next_index);
            }
            self.release(self.patterns.automaton.open(self.state), &mut out);
        }
        out
    }

    /// Returns what is held back when it is short: for a stream that has said nothing for a while and
    /// has readers who wait for its last line. Fewer than [`MINIMUM_BYTES`] of a secret can be seen
    /// that way, whatever the pauses; what follows of it is hidden.
    pub fn settle(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.patterns.automaton.open(self.state) < MINIMUM_BYTES {
            let mut settled = std::mem::take(&mut self.settled);
            settled.extend(self.held_significant_bytes());
            self.release(0, &mut out);
            self.settled = settled;
        }
        out
    }

    /// Ends the stream and returns what was held back.
    pub fn finish(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.release(0, &mut out);
        out
    }

    /// Returns the text with every secret hidden, in one go.
    pub fn mask(patterns: &Arc<Patterns>, bytes: &[u8]) -> Vec<u8> {
        let mut masker = Self::new(Arc::clone(patterns));
        let mut out = masker.push(bytes);
        out.extend(masker.finish());
        out
    }

    fn held_significant_bytes(&self) -> impl Iterator<Item = u8> {
        self.held.iter().copied().filter(|byte| !is_line_break(*byte))
    }

    /// Advances over one byte, whose index is `end - 1`, and notes what it completes.
    fn step(&mut self, byte: u8, end: u64) {
        self.state = self.patterns.automaton.next(self.state, byte);
        let length = self.patterns.automaton.longest_match(self.state);
        if length == 0 {
            return;
        }
        let mut start = end - length as u64;
        // Merging from the back keeps the ranges disjoint; each is removed once, so this stays linear.
        while let Some(&(last_start, last_end)) = self.hidden.back()
            && last_end >= start
        {
            start = start.min(last_start);
            self.hidden.pop_back();
        }
        self.hidden.push_back((start, end));
    }

    /// Writes all but the last `keep` significant bytes, and the line breaks before them.
    fn release(&mut self, keep: usize, out: &mut Vec<u8>) {
        while let Some(&byte) = self.held.front() {
            if is_line_break(byte) {
                out.push(byte);
                self.in_mask = false;
            } else if self.held_significant > keep {
                let index = self.next_index - self.held_significant as u64;
                self.held_significant -= 1;
                self.settled.clear();
                self.write(byte, index, out);
            } else {
                break;
            }
            self.held.pop_front();
        }
    }

    fn write(&mut self, byte: u8, index: u64, out: &mut Vec<u8>) {
        while self.hidden.front().is_some_and(|(_, end)| *end <= index) {
            self.hidden.pop_front();
        }
        let is_hidden = self.hidden.front().is_some_and(|(start, _)| *start <= index);
        if !is_hidden {
            out.push(byte);
        } else if !self.in_mask {
            out.extend_from_slice(MASK.as_bytes());
        }
        self.in_mask = is_hidden;
    }
}

#[cfg(test)]
mod tests;
