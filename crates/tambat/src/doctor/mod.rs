//! What on this machine would get in the way, and the exact fix.
//!
//! `gather` looks, `judge` says what it means (pure), `show` writes it for people.

mod gather;
mod judge;
mod listens;
mod show;

pub(crate) use gather::{Place, gather};
pub(crate) use judge::{Verdict, judge};
pub(crate) use show::show;
