//! Finds many byte strings at once (Aho and Corasick, 1975), made for few and long ones.
//!
//! Kept apart because the stream needs to know how much of its tail may still become a match, which
//! ready-made matchers do not tell.

use std::collections::VecDeque;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct State {
    /// The byte that leads here from the parent.
    byte: u8,
    first_child: u32,
    next_sibling: u32,
    /// The state of the longest proper suffix that is also a prefix of a pattern.
    fallback: u32,
    depth: u32,
    /// Length of the longest pattern that ends here; zero when none does.
    longest_match: u32,
    /// How many of the last bytes may still become part of a match.
    open: u32,
}

impl State {
    const fn new(byte: u8, depth: u32) -> Self {
        Self {
            byte,
            first_child: NONE,
            next_sibling: NONE,
            fallback: 0,
            depth,
            longest_match: 0,
            open: depth,
        }
    }
}

/// The matcher. State 0 is the start.
#[derive(Debug)]
pub(super) struct Automaton {
    states: Vec<State>,
    /// Children of the start, by byte: the start is where most of a log is spent.
    roots: Box<[u32; 256]>,
}

impl Automaton {
    /// Builds the matcher of these patterns; empty ones are left out.
    pub(super) fn new<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut automaton = Self { states: vec![State::new(0, 0)], roots: Box::new([NONE; 256]) };
        for pattern in patterns.into_iter().filter(|pattern| !pattern.is_empty()) {
            automaton.insert(pattern);
        }
        automaton.link();
        automaton
    }

    fn insert(&mut self, pattern: &[u8]) {
        let mut state = 0;
        for (depth, byte) in (1_u32..).zip(pattern) {
            state = if let Some(child) = self.child(state, *byte) {
                child
            } else {
                let Ok(child) = u32::try_from(self.states.len()) else { return };
                let mut new = State::new(*byte, depth);
                let parent = &mut self.states[state as usize];
                new.next_sibling = parent.first_child;
                parent.first_child = child;
                if state == 0 {
                    self.roots[usize::from(*byte)] = child;
                }
                self.states.push(new);
                child
            };
        }
        let end = &mut self.states[state as usize];
        end.longest_match = end.depth;
    }

    /// Links each state to its fallback, nearest to the start first.
    fn link(&mut self) {
        let mut queue = VecDeque::from([0_u32]);
        while let Some(parent) = queue.pop_front() {
            let mut child = self.states[parent as usize].first_child;
            while child != NONE {
                let State { byte, next_sibling, .. } = self.states[child as usize];
                let fallback = if parent == 0 {
                    0
                } else {
                    self.next(self.states[parent as usize].fallback, byte)
                };
                let State { longest_match: inherited, open, .. } = self.states[fallback as usize];
                let state = &mut self.states[child as usize];
                if state.first_child == NONE {
                    // What cannot be extended is open only as far as its fallback is.
                    state.open = open;
                }
                state.fallback = fallback;
                state.longest_match = state.longest_match.max(inherited);
                queue.push_back(child);
                child = next_sibling;
            }
        }
    }

    fn child(&self, state: u32, byte: u8) -> Option<u32> {
        let mut child = if state == 0 {
            self.roots[usize::from(byte)]
        } else {
            self.states[state as usize].first_child
        };
        while child != NONE && self.states[child as usize].byte != byte {
            child = self.states[child as usize].next_sibling;
        }
        (child != NONE).then_some(child)
    }

    /// Returns the state after one more byte.
    pub(super) fn next(&self, mut state: u32, byte: u8) -> u32 {
        loop {
            if let Some(child) = self.child(state, byte) {
                return child;
            }
            if state == 0 {
                return 0;
            }
            state = self.states[state as usize].fallback;
        }
    }

    /// Returns how many of the last bytes may still become part of a match.
    pub(super) fn open(&self, state: u32) -> usize {
        self.states[state as usize].open as usize
    }

    /// Returns the length of the longest pattern that ends here, or zero.
    pub(super) fn longest_match(&self, state: u32) -> usize {
        self.states[state as usize].longest_match as usize
    }
}
