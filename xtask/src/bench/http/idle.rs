//! What a connection costs that is kept alive and does nothing.

use serde_json::{Value, json};

use super::{
    super::{
        figures::{Table, float},
        procfs::Memory,
        report::{Bar, Bound, Report},
    },
    Http,
    config::Backend,
    contender::{Contender, Field, Setup},
    load::{Load, Pace},
    offer::{Offer, Protocol},
    request::Shape,
};
use crate::failure::Failure;

const CONNECTIONS: u32 = 9_800;

const BYTES_MAX: f64 = 2_048.0;

/// By how much a proxy grew with so many connections more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grown {
    pub(super) connections: u64,
    pub(super) before: Memory,
    pub(super) after: Memory,
}

impl Grown {
    /// A line of JSON, memory in KiB.
    pub(super) fn print(&self) -> String {
        let memory = |memory: &Memory| json!([memory.pss, memory.rss, memory.private_dirty]);
        json!([self.connections, memory(&self.before), memory(&self.after)]).to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let memory = |value: &Value| {
            let part = |nth: usize| value.get(nth)?.as_u64();
            Some(Memory { pss: part(0)?, rss: part(1)?, private_dirty: part(2)? })
        };
        let (connections, before, after) = (value.get(0)?.as_u64()?, value.get(1)?, value.get(2)?);
        Some(Self { connections, before: memory(before)?, after: memory(after)? })
    }

    /// Of one of these, for each connection.
    fn bytes(&self, of: fn(&Memory) -> u64) -> f64 {
        (float(of(&self.after)) - float(of(&self.before))) * 1024.0 / float(self.connections)
    }
}

pub(super) fn measure(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    let grown = compare(http, report, None)?;
    if let Some((_, seen)) = grown.iter().find(|(contender, _)| *contender == Contender::Tambat) {
        let what = "memory for an idle kept-alive connection (PSS)".to_owned();
        report.judge(Bar { what, bound: Bound::AtMost(BYTES_MAX), seen: *seen, unit: "bytes" });
    }
    Ok(())
}

/// Bytes of each of them for a connection, over TLS where there is an offer.
pub(super) fn compare(
    http: &Http<'_>,
    report: &Report,
    offer: Option<Offer>,
) -> Result<Vec<(Contender, f64)>, Failure> {
    let mut table =
        Table::new(&["", "connections", "PSS, bytes each", "private and dirty, bytes each", "PSS in all, MiB"]);
    let load = Load { connections: CONNECTIONS, seconds: 0, shape: Shape::Plain, pace: Pace::Once, offer };
    let setup = Setup { backend: Backend::Small, front: http.front, log: false };
    let mut all = Vec::new();
    for contender in http.chosen(&[Contender::Tambat, Contender::Nginx, Contender::Haproxy]) {
        let field = Field::start(http.bench, &[contender], setup)?;
        let printed = field.run(contender, load)?;
        field.stop()?;
        let grown = Grown::parse(&printed)
            .ok_or_else(|| Failure::new(format!("cannot read what the load says: `{printed}`"), "run it by hand"))?;
        let each = grown.bytes(|memory| memory.pss);
        table.row(vec![
            contender.name(),
            grown.connections.to_string(),
            format!("{each:.0}"),
            format!("{:.0}", grown.bytes(|memory| memory.private_dirty)),
            format!("{:.1}", float(grown.after.pss) / 1024.0),
        ]);
        all.push((contender, each));
    }
    let over = match offer.map(|offer| offer.protocol) {
        None => "",
        Some(Protocol::Http1) => ", TLS and HTTP/1.1",
        Some(Protocol::Http2(_)) => ", TLS and HTTP/2",
    };
    report.say(&format!("### Connections that are kept alive and idle, each after one request{over}\n\n{table}"));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_read_back_and_divided_by_the_connections() {
        let before = Memory { pss: 1_000, rss: 2_000, private_dirty: 900 };
        let after = Memory { pss: 3_000, rss: 5_000, private_dirty: 2_900 };
        let grown = Grown { connections: 1_000, before, after };
        assert_eq!(Grown::parse(&grown.print()), Some(grown));
        assert!((grown.bytes(|memory| memory.pss) - 2_048.0).abs() < 1e-9);
        assert_eq!(Grown::parse("[1,2]"), None);
    }
}
