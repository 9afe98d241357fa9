//! One binary for all journeys, so that they link once; a file per story.
//!
//! `peers/` proves the servers that the stories stand on, so that a broken peer is not taken for a
//! broken product.

mod peers;
