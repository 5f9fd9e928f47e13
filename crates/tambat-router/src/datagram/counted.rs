//! A session as its process port counts it.

use std::sync::Arc;

use tambat_model::{ErrorCode, Route};

/// Counted with the streams of its process port until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    route: Arc<Route>,
    worker: usize,
    /// How many streams and sessions there were before it.
    before: usize,
}

impl Counted {
    pub(super) fn new(route: &Arc<Route>, worker: usize) -> Self {
        route.traffic.shard(worker).stream();
        let before = route.traffic.open_stream();
        Self { route: Arc::clone(route), worker, before }
    }

    pub(super) fn name(&self) -> &str {
        &self.route.name
    }

    /// Were there as many as may be (`max_connections`) when it came?
    pub(super) fn is_one_too_many(&self) -> bool {
        self.route.connections_max.is_some_and(|max| self.before >= max.get() as usize)
    }

    /// It is turned away for that.
    pub(super) fn note_too_many(&self) {
        self.route.traffic.shard(self.worker).error(ErrorCode::TooManyConnections);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.route.traffic.shard(self.worker).stream_ended();
        self.route.traffic.close_stream();
    }
}
