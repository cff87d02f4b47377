//! What a name costs the authority: the first sight of it, and every later one.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    hint::black_box,
    io::{Read, Write},
    sync::Arc,
    time::SystemTime,
};

use certs::{Cache, Folder, Host, LeafKey, NAMES_MAX, Names, Profile, Resolver};
use criterion::{Criterion, criterion_group, criterion_main};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConnection, client::Resumption, crypto::aws_lc_rs,
    pki_types::ServerName,
};

fn leaf(c: &mut Criterion) {
    let place = tempfile::tempdir().unwrap();
    let names = Names::new([Host::parse("bench.example").unwrap()]);
    let now = SystemTime::now();
    let authority = Arc::new(Folder::new(place.path()).create(&Profile::new(names), now).unwrap());
    let key = LeafKey::p256().unwrap();
    // More names than are kept, in turn: each is a first sight.
    let many: Vec<Host> = (0..NAMES_MAX * 2).map(|n| Host::parse(&format!("api{n}.bench.example")).unwrap()).collect();
    let cache = Arc::new(Cache::new(authority.clone(), key.clone()));

    let mut group = c.benchmark_group("leaf");
    let mut n = 0;
    group.bench_function("first", |b| {
        b.iter(|| {
            n = (n + 1) % many.len();
            black_box(cache.get(&many[n], now).unwrap())
        });
    });
    group.bench_function("cached", |b| b.iter(|| black_box(cache.get(&many[0], now).unwrap())));
    group.bench_function("refused", |b| {
        let outside = Host::parse("elsewhere.example").unwrap();
        b.iter(|| black_box(cache.get(&outside, now).unwrap_err()));
    });

    // Whole handshakes in memory, both sides: TLS 1.3, X25519, no resumption.
    let mut roots = RootCertStore::empty();
    roots.add(authority.root().der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    let client = Arc::new(client);
    let server = Arc::new(certs::server_config(Arc::new(Resolver::new(cache.clone(), |_| true)), &[b"h2"]).unwrap());
    group.bench_function("handshake_first", |b| {
        b.iter(|| {
            n = (n + 1) % many.len();
            handshake(&client, &server, many[n].as_str());
        });
    });
    group.bench_function("handshake_cached", |b| b.iter(|| handshake(&client, &server, many[0].as_str())));
    group.finish();
}

fn handshake(client: &Arc<ClientConfig>, server: &Arc<rustls::ServerConfig>, name: &str) {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    // One request, so that both sides have keys that work.
    client.writer().write_all(b"ping").unwrap();
    wire.clear();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    let mut got = [0; 4];
    server.reader().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
}

criterion_group!(benches, leaf);
criterion_main!(benches);
