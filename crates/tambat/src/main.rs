//! tambat: apps by the ports they bind.

fn main() {}
