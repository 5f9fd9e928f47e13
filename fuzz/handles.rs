//! What is promised of any text where an app expects the URL of a backing service. Called by the fuzz target, and by the
//! ordinary tests of `tambat-app` with every seed.

use tambat_app::Resource;

/// A handle or an error; and neither of them shows what was put in for a secret.
pub(crate) fn app_resource(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let handle = match Resource::parse("CACHE_URL", &text) {
        Ok(handle) => handle,
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("CACHE_URL") && said.contains("://"), "{said}");
            assert!(text.len() < SECRET_BYTES_MIN || !said.contains(&*text), "{said}");
            return;
        }
    };
    assert_eq!(handle.url(), text);
    assert!(!handle.scheme().is_empty() && handle.port() != Some(0));
    assert!(handle.host().is_none_or(|host| !host.is_empty() && !host.contains(['@', '/', '?', '#'])));
    let shown = format!("{handle} {handle:?}");
    for secret in [handle.password(), handle.query(), handle.database()].into_iter().flatten() {
        let elsewhere = [handle.host().unwrap_or_default(), handle.scheme(), "CACHE_URL"];
        let common = secret.len() < SECRET_BYTES_MIN || elsewhere.iter().any(|part| part.contains(secret));
        assert!(common || !shown.contains(secret), "{shown}");
    }
    if let Ok((host, port)) = handle.address() {
        assert!(port > 0 && Some(host) == handle.host());
    }
    assert_eq!(Resource::parse("CACHE_URL", handle.url()).expect("once a URL, always a URL"), handle);
}

/// What is shorter stands in many places by chance: in a port, or in an example of what to write.
const SECRET_BYTES_MIN: usize = 8;
