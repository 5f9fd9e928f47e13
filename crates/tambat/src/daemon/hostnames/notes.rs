//! What the user is told about names.

use tambat_model::Scheme;

use super::Post;
use super::registry::Taken;

/// The names that our app does not get, as its user knows them.
#[derive(Debug, Default)]
pub(super) struct TakenNames(Vec<Taken>);

impl TakenNames {
    /// Says what has changed.
    pub(super) fn say(&mut self, now: Vec<Taken>, post: &Post) {
        changes(&self.0, &now, post.front()).into_iter().for_each(|note| post.app.sayer.say(note));
        self.0 = now;
    }
}

fn changes(before: &[Taken], now: &[Taken], at: (Scheme, u16)) -> Vec<String> {
    let is_in = |list: &[Taken], one: &Taken| list.iter().any(|t| t.host == one.host && t.path == one.path);
    let lost = now.iter().filter(|taken| !before.contains(taken)).map(|taken| {
        let dir = tambat_model::plain(&taken.dir);
        let app = tambat_model::plain(&taken.app);
        format!("{} belongs to {app} in {dir}, which came first: it is ours when that has ended", url(taken, at))
    });
    let ours = before.iter().filter(|taken| !is_in(now, taken));
    lost.chain(ours.map(|taken| format!("{} is ours now", url(taken, at)))).collect()
}

fn url(taken: &Taken, (scheme, port): (Scheme, u16)) -> String {
    let path = if taken.path == "/" { "" } else { &taken.path };
    format!("{scheme}://{}{}{path}", taken.host, scheme.port_suffix(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_said() {
        let taken = |host: &str, path: &str, dir: &str| Taken {
            host: host.to_owned(),
            path: path.to_owned(),
            app: "shop".to_owned(),
            dir: dir.to_owned(),
        };
        let one = taken("shop.localhost", "/", "/a");
        let two = taken("*.shop.localhost", "/api", "/a");
        let said = changes(&[], &[one.clone(), two.clone()], (Scheme::Http, 7080));
        assert_eq!(
            said,
            [
                "http://shop.localhost:7080 belongs to shop in /a, which came first: it is ours when that has ended",
                "http://*.shop.localhost:7080/api belongs to shop in /a, which came first: it is ours when that has ended",
            ]
        );
        assert!(changes(&[one.clone(), two.clone()], &[two.clone(), one.clone()], (Scheme::Http, 7080)).is_empty());
        assert_eq!(
            changes(&[one, two.clone()], std::slice::from_ref(&two), (Scheme::Http, 7080)),
            ["http://shop.localhost:7080 is ours now"]
        );
        let passed_on = changes(&[two], &[taken("*.shop.localhost", "/api", "/b")], (Scheme::Https, 7443));
        assert!(passed_on.len() == 1 && passed_on[0].contains("shop in /b"), "{passed_on:?}");
    }
}
