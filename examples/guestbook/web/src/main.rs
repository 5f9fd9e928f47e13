//! Guestbook.

fn main() {}
