use super::*;

#[test]
fn a_listener_is_dialled_where_it_is() {
    let dial = |addrs: &[&str]| {
        let addrs: Vec<SocketAddr> = addrs.iter().map(|a| a.parse().unwrap()).collect();
        dial_address(&addrs, 9).unwrap().to_string()
    };
    assert_eq!(dial(&["0.0.0.0:9"]), "127.0.0.1:9");
    assert_eq!(dial(&["[::]:9"]), "[::1]:9");
    assert_eq!(dial(&["[::1]:9", "127.0.0.1:9"]), "127.0.0.1:9");
    assert_eq!(dial(&["192.0.2.1:9"]), "192.0.2.1:9");
}
