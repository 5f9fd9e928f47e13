//! A stream, or a session of datagrams, as its process port counts it.

use std::sync::Arc;

use tambat_model::{Route, Traffic};

/// One of those that a process port has open, until this is dropped.
#[derive(Debug)]
pub(crate) struct InTraffic {
    traffic: Arc<Traffic>,
    worker: usize,
}

impl InTraffic {
    /// One more, and whether there were as many as may be before it (`max_connections`).
    pub(crate) fn begin(route: &Route, worker: usize) -> (Self, bool) {
        route.traffic.shard(worker).stream();
        let before = route.traffic.open_stream();
        let is_one_too_many = route.connections_max.is_some_and(|max| before >= max.get() as usize);
        (Self { traffic: Arc::clone(&route.traffic), worker }, is_one_too_many)
    }

    /// Where it is counted.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl Drop for InTraffic {
    fn drop(&mut self) {
        self.traffic.shard(self.worker).stream_ended();
        self.traffic.close_stream();
    }
}
