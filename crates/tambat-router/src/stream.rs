//! A stream: its target is found or waited for, then bytes are carried both ways; or its client is turned away.

mod seek;

use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::arrival::Arrival;
use crate::carry::{End, Leftovers, carry};
use crate::connection::serve_http;
use crate::listener::Open;
use crate::transport::Transport;
use crate::turn_away::turn_away;
use crate::wanted::Wanted;
use crate::worker::Worker;

use seek::{Found, Seeker};
pub(crate) use seek::{RETRY_EVERY_MS, change, dial, until};

/// Serves a connection that wants somebody at its listener: a stream, or one that waits to learn what it is. `before`: what
/// its client has sent already.
pub(crate) async fn serve(
    wanted: Wanted,
    client: Transport,
    before: Vec<u8>,
    arrival: Arrival,
    open: Open,
    worker: Rc<Worker>,
) {
    let listener = open.listener();
    let seeker = Seeker { client: &client, arrival: &arrival, wanted: &wanted, listener, worker: &worker };
    match seeker.seek().await {
        Found::Target(upstream) => {
            let leftovers = Leftovers { up: before, down: Vec::new() };
            let idle = upstream.route.idle;
            let carried = carry(&client, &upstream.stream, idle, leftovers, listener, &worker.tools).await;
            if carried.end == End::Broken {
                client.reset_on_close();
                upstream.stream.reset_on_close();
            }
        }
        Found::Http(told) => {
            serve_http(client, before, arrival, open, worker, told);
        }
        Found::Nobody(told) => {
            listener.refused.fetch_add(1, Ordering::Relaxed);
            // Boxed: few connections come to this, and none should be as big as if it did.
            Box::pin(turn_away(client, before, told)).await;
        }
        Found::ClientGone => {}
    }
}
