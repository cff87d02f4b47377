//! The authority and its leaves through the public surface: what is in a leaf, what is refused, what is kept.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, SystemTime},
};

use crate::support::{INSIDE, Made, OUTSIDE, host, serve};
use certs::{Cache, Folder, LeafKey, MintError, NAMES_MAX, Names, Profile, Resolver, Root};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, crypto::aws_lc_rs, pki_types::ServerName,
};
use x509_parser::prelude::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn parse(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).unwrap().1
}

#[test]
fn certificates_hold_what_clients_ask_for() {
    let made = Made::new();
    let root = parse(made.authority.root().der());
    let issuing = parse(made.authority.issuing());
    let PublicKeyAlgorithms::Rsa(bits) = key_kind(&root) else { panic!("the root is no RSA key") };
    assert_eq!(bits, 4_096);
    assert_eq!(key_kind(&issuing), PublicKeyAlgorithms::P256);

    for (certificate, path) in [(&root, 1), (&issuing, 0)] {
        let basic = certificate.basic_constraints().unwrap().unwrap();
        assert!(basic.critical && basic.value.ca);
        assert_eq!(basic.value.path_len_constraint, Some(path));
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(!usage.value.digital_signature());
        let constraints = certificate.name_constraints().unwrap().unwrap();
        assert!(constraints.critical);
        let permitted = constraints.value.permitted_subtrees.as_ref().unwrap();
        assert!(matches!(permitted[..], [GeneralSubtree { base: GeneralName::DNSName("inside.example") }]));
        let excluded = constraints.value.excluded_subtrees.as_ref().unwrap();
        assert!(matches!(
            excluded[..],
            [
                GeneralSubtree { base: GeneralName::IPAddress([0, 0, 0, 0, 0, 0, 0, 0]) },
                GeneralSubtree { base: GeneralName::IPAddress(v6) }
            ] if v6 == [0; 32]
        ));
        assert!(serial_ok(certificate));
    }
    let name = |certificate: &X509Certificate<'_>| certificate.subject().to_string();
    assert!(name(&root).contains("Flow Router local CA "), "{}", name(&root));
    assert!(made.authority.root().subject().starts_with("Flow Router local CA "));
    assert!(!root.extensions().iter().any(|extension| extension.oid == oid_registry::OID_X509_EXT_EXTENDED_KEY_USAGE));

    let cache = Cache::new(made.authority.clone(), LeafKey::p256().unwrap());
    let now = SystemTime::now();
    let key = cache.get(&host("API.Inside.Example"), now).unwrap();
    assert_eq!(key.cert.len(), 2, "leaf and issuing authority, not the root");
    assert_eq!(&key.cert[1], made.authority.issuing());
    let leaf = parse(&key.cert[0]);
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(matches!(san.value.general_names[..], [GeneralName::DNSName(INSIDE)]));
    assert_eq!(name(&leaf), format!("CN={INSIDE}"));
    let basic = leaf.basic_constraints().unwrap().unwrap();
    assert!(!basic.value.ca);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature());
    assert_eq!(usage.value.flags, 1, "nothing but signatures");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth && !extended.any && extended.other.is_empty());
    let id = |certificate: &X509Certificate<'_>| -> Vec<u8> {
        let found = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        found.unwrap()
    };
    let authority_id = |certificate: &X509Certificate<'_>| -> Vec<u8> {
        let found = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref().unwrap().0.to_vec()),
            _ => None,
        });
        found.unwrap()
    };
    assert_eq!(authority_id(&leaf), id(&issuing));
    assert_eq!(authority_id(&issuing), id(&root));
    assert_ne!(id(&leaf), id(&issuing));
    let (begin, end) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let at = |time: SystemTime| i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert!((at(now - DAY) - begin).abs() <= 1 && (at(now + DAY * 90) - end).abs() <= 1);
    assert!(end - begin <= 197 * 24 * 60 * 60);
    assert!(serial_ok(&leaf));

    // Numbers do not repeat, also for one name.
    let serials: HashSet<Vec<u8>> = (0..100_u32)
        .map(|n| {
            let key = cache.get(&host(&format!("n{n}.inside.example")), now).unwrap();
            parse(&key.cert[0]).raw_serial().to_vec()
        })
        .collect();
    assert_eq!(serials.len(), 100);
    // A name that is too long for a common name.
    let long = format!("{}.{}.inside.example", "a".repeat(60), "b".repeat(60));
    let key = cache.get(&host(&long), now).unwrap();
    assert_eq!(name(&parse(&key.cert[0])), "CN=Flow Router");
}

#[derive(Debug, PartialEq, Eq)]
enum PublicKeyAlgorithms {
    Rsa(usize),
    P256,
}

fn key_kind(certificate: &X509Certificate<'_>) -> PublicKeyAlgorithms {
    match certificate.public_key().parsed().unwrap() {
        public_key::PublicKey::RSA(key) => PublicKeyAlgorithms::Rsa(key.key_size()),
        public_key::PublicKey::EC(point) if point.key_size() == 256 => PublicKeyAlgorithms::P256,
        _ => panic!("another key"),
    }
}

/// Sixteen bytes, positive.
fn serial_ok(certificate: &X509Certificate<'_>) -> bool {
    let serial = certificate.raw_serial();
    serial.len() == 16 && serial[0] & 0x80 == 0 && serial[0] != 0
}

#[test]
fn names_outside_are_refused_and_those_inside_are_signed_once() {
    let made = Made::new();
    let now = SystemTime::now();
    let cache = Cache::new(made.authority.clone(), LeafKey::p256().unwrap());
    for outside in [OUTSIDE, "example", "xinside.example", "inside.example.org"] {
        let refused = cache.get(&host(outside), now);
        assert_eq!(refused.unwrap_err(), MintError::OutsideConstraint(outside.to_owned()));
    }
    assert_eq!((cache.load().minted, cache.load().names), (0, 0), "nothing was signed or kept");

    // A thousand hellos for one name at once.
    let threads = 16;
    let barrier = Barrier::new(threads);
    let leaves: HashSet<Vec<u8>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    (0..63).map(|_| cache.get(&host(INSIDE), now).unwrap().cert[0].to_vec()).collect::<HashSet<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(leaves.len(), 1);
    assert_eq!(cache.load().minted, 1);

    // Kept for two thirds of its life, and no longer.
    let leaf = |now| cache.get(&host(INSIDE), now).unwrap().cert[0].to_vec();
    let first = leaf(now);
    assert_eq!(leaf(now + DAY * 59), first);
    let second = leaf(now + DAY * 61);
    assert_ne!(second, first);
    // A clock that was set back.
    assert_eq!(leaf(now + DAY * 61 - Duration::from_secs(60 * 59)), second);
    assert_ne!(leaf(now + DAY * 60), second);

    // Bounded: the name asked for longest ago goes.
    let before = cache.load().minted;
    for n in 0..NAMES_MAX {
        cache.get(&host(&format!("n{n}.inside.example")), now).unwrap();
        cache.get(&host("n0.inside.example"), now).unwrap();
    }
    assert_eq!(cache.load().names, NAMES_MAX);
    assert_eq!(cache.load().minted, before + NAMES_MAX as u64);
    cache.get(&host("n0.inside.example"), now).unwrap();
    assert_eq!(cache.load().minted, before + NAMES_MAX as u64, "asked for all the time");
    cache.get(&host("n1.inside.example"), now + DAY).unwrap();
    cache.get(&host(INSIDE), now).unwrap();
    assert_eq!(cache.load().minted, before + NAMES_MAX as u64 + 1, "only the first name had gone");

    // Near the authority's end a leaf ends with it, and after that there is none.
    let end = made.authority.not_after();
    let key = cache.get(&host(INSIDE), end - DAY * 10).unwrap();
    let last = parse(&key.cert[0]).validity().not_after.timestamp();
    assert_eq!(u64::try_from(last).unwrap(), end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
    for late in [end - Duration::from_secs(60), end, end + DAY] {
        assert_eq!(cache.get(&host("late.inside.example"), late).unwrap_err(), MintError::AuthorityExpired);
    }
}

fn client(root: &Root) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// What a client got: the answer and how the handshake went, or the error.
fn ask(config: &Arc<ClientConfig>, name: &str, port: u16) -> Result<(String, HandshakeKind, Option<Vec<u8>>), String> {
    let connection = ClientConnection::new(config.clone(), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut tls = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port)).unwrap());
    tls.write_all(format!("GET / HTTP/1.1\r\nhost: {name}\r\n\r\n").as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let alpn = tls.conn.alpn_protocol().map(<[u8]>::to_vec);
    Ok((answer, tls.conn.handshake_kind().unwrap(), alpn))
}

#[test]
fn a_server_shows_leaves_by_name_and_nothing_to_others() {
    let made = Made::new();
    let cache = Arc::new(Cache::new(made.authority.clone(), LeafKey::p256().unwrap()));
    let resolver = Resolver::new(cache.clone(), |name| !name.as_str().starts_with("off."));
    let port = serve(certs::server_config(Arc::new(resolver), &[b"http/1.1"]).unwrap());
    let trusting = Arc::new(client(made.authority.root()));
    let (answer, kind, alpn) = ask(&trusting, INSIDE, port).unwrap();
    assert!(answer.ends_with(&format!("hello from {INSIDE}\n")), "{answer}");
    assert_eq!((kind, alpn.as_deref()), (HandshakeKind::Full, Some(&b"http/1.1"[..])));
    let (_, kind, _) = ask(&trusting, INSIDE, port).unwrap();
    assert_eq!(kind, HandshakeKind::Resumed);
    assert_eq!(cache.load().minted, 1);
    for refused in [OUTSIDE, "off.inside.example"] {
        let error = ask(&trusting, refused, port).unwrap_err();
        assert!(
            error.contains("AccessDenied") || error.contains("UnrecognisedName") || error.contains("alert"),
            "{error}"
        );
    }
    assert_eq!(cache.load().minted, 1, "nothing was signed for names that are refused");
    // Who trusts another root of ours refuses.
    let other = Made::new();
    let error = ask(&Arc::new(client(other.authority.root())), INSIDE, port).unwrap_err();
    assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
    // After a rotation new connections get the new authority's leaves.
    cache.replace(other.authority.clone());
    assert!(ask(&Arc::new(client(other.authority.root())), INSIDE, port).is_ok());
    // What a thief of the issuing key could make is worth nothing outside of the names.
    let stolen = serve(made.stolen_config(OUTSIDE));
    let error = ask(&trusting, OUTSIDE, stolen).unwrap_err();
    assert!(error.contains("NameConstraintViolation"), "{error}");
    let stolen_inside = serve(made.stolen_config(INSIDE));
    ask(&trusting, INSIDE, stolen_inside).unwrap();
}

#[test]
fn rsa_leaves_serve_who_knows_no_other_key() {
    let made = Made::new();
    let port = serve(made.config(LeafKey::rsa2048().unwrap(), &[]));
    let (answer, _, alpn) = ask(&Arc::new(client(made.authority.root())), INSIDE, port).unwrap();
    assert!(answer.contains(INSIDE) && alpn.is_none());
    let cache = Cache::new(made.authority.clone(), LeafKey::rsa2048().unwrap());
    let key = cache.get(&host(INSIDE), SystemTime::now()).unwrap();
    assert_eq!(key_kind(&parse(&key.cert[0])), PublicKeyAlgorithms::Rsa(2_048));
}

#[test]
fn nothing_secret_is_printed() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::new(place.path());
    let profile = Profile { sealed: false, days: 30, ..Profile::new(Names::new([host("inside.example")])) };
    let authority = Arc::new(folder.create(&profile, SystemTime::now()).unwrap());
    let key = LeafKey::p256().unwrap();
    let cache = Arc::new(Cache::new(authority.clone(), key.clone()));
    let texts = [
        format!("{authority:?}"),
        format!("{folder:?}"),
        format!("{key:?}"),
        format!("{cache:?}"),
        format!("{:?}", Resolver::new(cache.clone(), |_| true)),
        folder.load(authority.not_after()).unwrap_err().to_string(),
        authority.root().pem(),
    ];
    for file in ["issuingCA.key", "rootCA.key"] {
        let pem = std::fs::read_to_string(place.path().join(file)).unwrap();
        let secret: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
        // A key's file begins (RSA) or ends (P-256) with its public half, which is no secret.
        let part =
            if file.starts_with("root") { &secret[secret.len() - 90..secret.len() - 60] } else { &secret[60..85] };
        for text in &texts {
            assert!(!text.contains(part), "{file} in {text}");
        }
    }
    // The root's PEM leads back to it.
    assert_eq!(&Root::from_pem(authority.root().pem().as_bytes()).unwrap(), authority.root());
    assert_eq!(std::fs::read_to_string(folder.root_path()).unwrap(), authority.root().pem());
    assert!(authority.ends_soon(SystemTime::now()), "thirty days are soon over");
}
