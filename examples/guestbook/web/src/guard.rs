use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};

/// What every answer carries: nothing is loaded but from here, no script at all, no other site may frame the page or
/// receive its form. `same-origin`, not `no-referrer`: that one makes browsers send `Origin: null` with our own form.
const PROTECTION: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-cache"),
];

/// Adds the fields that keep other sites out.
pub(crate) fn protect(headers: &mut HeaderMap) {
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whether a request that changes something comes from another site's page. `Origin` is compared with `Host`; where a
/// browser sends no `Origin`, `Sec-Fetch-Site` counts; what sends neither is no browser, and carries nobody's session.
pub(crate) fn is_cross_origin(headers: &HeaderMap) -> bool {
    if let Some(origin) = headers.get(ORIGIN) {
        let host = headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        return match authority(origin.as_bytes()) {
            Some(authority) => host.is_empty() || !authority.eq_ignore_ascii_case(host),
            None => true,
        };
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => false,
        Some(_) => true,
    }
}

/// What follows the scheme; an origin has no path (RFC 6454 §6.2). None for `null`.
fn authority(origin: &[u8]) -> Option<&[u8]> {
    origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cross(fields: &[(&'static str, &'static str)]) -> bool {
        let headers = fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        is_cross_origin(&headers)
    }

    #[test]
    fn our_own_page_and_programs_may_post() {
        for fields in [
            &[("host", "localhost:5000"), ("origin", "http://localhost:5000")][..],
            &[("host", "shop.example.com"), ("origin", "https://shop.example.com")],
            &[("host", "Shop.example.com"), ("origin", "https://shop.Example.com")],
            &[("host", "[::1]:5000"), ("origin", "http://[::1]:5000")],
            &[("host", "localhost:5000")],
            &[("host", "localhost:5000"), ("sec-fetch-site", "same-origin")],
            &[("host", "localhost:5000"), ("sec-fetch-site", "none")],
        ] {
            assert!(!cross(fields), "{fields:?}");
        }
    }

    #[test]
    fn pages_of_other_sites_may_not() {
        for fields in [
            &[("host", "localhost:5000"), ("origin", "http://evil.example.com")][..],
            &[("host", "localhost:5000"), ("origin", "http://localhost:5100")],
            &[("host", "localhost:5000"), ("origin", "http://localhost:5000.evil.example.com")],
            &[("host", "localhost:5000"), ("origin", "http://localhost")],
            &[("host", "localhost:5000"), ("origin", "null")],
            &[("host", "localhost:5000"), ("origin", "")],
            &[("host", "localhost:5000"), ("origin", "http://x"), ("sec-fetch-site", "same-origin")],
            &[("origin", "http://")],
            &[("host", "localhost:5000"), ("sec-fetch-site", "cross-site")],
            &[("host", "localhost:5000"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(cross(fields), "{fields:?}");
        }
    }

    #[test]
    fn no_script_may_run() {
        let mut headers = HeaderMap::new();
        protect(&mut headers);
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("script-src") && !policy.contains("unsafe")
        );
    }
}
