//! Which certificates are the front proxy's, and what its headers say. The handshake itself is in `tests/it`.

use std::collections::BTreeMap;

use http::HeaderValue;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::*;

fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().expect("a time")
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client(authority: &CertifiedIssuer<'static, KeyPair>, name: &str, last_year: i32) -> PeerCertificates {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap();
    PeerCertificates(Arc::from([certificate.der().clone()]))
}

fn config(authority: &str, allowed_names: &str) -> ConfigMap {
    let data = [
        ("requestheader-client-ca-file", authority),
        ("requestheader-allowed-names", allowed_names),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
        ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
    ];
    let data = data.map(|(key, value)| (key.to_owned(), value.to_owned()));
    ConfigMap { data: Some(BTreeMap::from(data)), ..ConfigMap::default() }
}

fn front_proxy(authority: &CertifiedIssuer<'static, KeyPair>, allowed_names: &str) -> FrontProxy {
    let front_proxy = FrontProxy::default();
    front_proxy.replace(FrontProxyTrust::parse(&config(&authority.pem(), allowed_names)).unwrap());
    front_proxy
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn headers_count_only_over_the_front_proxys_certificate() {
    let (ours, other) = (authority(), authority());
    let front_proxy = front_proxy(&ours, r#"["front-proxy-client"]"#);
    let alice = headers(&[("x-remote-user", "alice")]);
    for (what, peer, accepted) in [
        ("the front proxy", client(&ours, "front-proxy-client", 2030), true),
        ("another name", client(&ours, "somebody", 2030), false),
        ("another authority", client(&other, "front-proxy-client", 2030), false),
        ("an expired certificate", client(&ours, "front-proxy-client", 2025), false),
        ("no certificate", PeerCertificates::default(), false),
        ("a broken certificate", PeerCertificates(Arc::from([CertificateDer::from(vec![0x30, 0])])), false),
    ] {
        assert_eq!(front_proxy.authenticate(&peer, &alice, now()).is_some(), accepted, "{what}");
    }
    assert!(
        FrontProxy::default()
            .authenticate(&client(&ours, "front-proxy-client", 2030), &alice, now())
            .is_none()
    );
}

#[test]
fn any_name_will_do_where_none_is_required() {
    let ours = authority();
    let front_proxy = front_proxy(&ours, "[]");
    let alice = headers(&[("x-remote-user", "alice")]);
    assert!(front_proxy.authenticate(&client(&ours, "whoever", 2030), &alice, now()).is_some());
}

#[test]
fn a_requester_has_the_name_the_groups_and_the_extra_of_the_headers() {
    let ours = authority();
    let front_proxy = front_proxy(&ours, "[]");
    let peer = client(&ours, "front-proxy-client", 2030);
    let sent = headers(&[
        ("x-remote-user", "system:serviceaccount:a:b"),
        ("x-remote-uid", "u-1"),
        ("x-remote-group", "one"),
        ("x-remote-group", "two"),
        ("x-remote-extra-authentication.kubernetes.io%2fcredential-id", "c-1"),
    ]);
    let requester = front_proxy.authenticate(&peer, &sent, now()).unwrap();
    assert_eq!(requester.name, "system:serviceaccount:a:b");
    assert_eq!(requester.uid, "u-1");
    assert_eq!(requester.groups, ["one", "two"]);
    assert_eq!(requester.extra["authentication.kubernetes.io/credential-id"], ["c-1"]);
    assert!(front_proxy.authenticate(&peer, &headers(&[("x-remote-group", "one")]), now()).is_none());
    assert!(front_proxy.authenticate(&peer, &headers(&[("x-remote-user", "")]), now()).is_none());
}

#[test]
fn a_header_that_is_not_announced_is_not_believed() {
    let ours = authority();
    let mut config = config(&ours.pem(), "[]");
    config.data.as_mut().unwrap().remove("requestheader-uid-headers");
    let front_proxy = FrontProxy::default();
    front_proxy.replace(FrontProxyTrust::parse(&config).unwrap());
    let sent = headers(&[("x-remote-user", "alice"), ("x-remote-uid", "smuggled")]);
    let requester =
        front_proxy.authenticate(&client(&ours, "front-proxy-client", 2030), &sent, now()).unwrap();
    assert_eq!(requester.uid, "");
}

#[test]
fn an_authority_that_cannot_be_used_is_refused() {
    let missing = ConfigMap::default();
    assert!(matches!(FrontProxyTrust::parse(&missing), Err(ParseTrustError::MissingKey { .. })));
    assert!(FrontProxyTrust::parse(&config("no certificate", "[]")).is_err());
    assert!(FrontProxyTrust::parse(&config(&authority().pem(), "front-proxy-client")).is_err());
}
