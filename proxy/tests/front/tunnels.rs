//! Tunnels: the same bytes, both ways, to the true server and nowhere else.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    task::yield_now,
};

use super::*;

/// More than is copied before the kernel moves the rest.
const MUCH: usize = 3 * 1024 * 1024 + 17;

fn pattern(seed: usize) -> Vec<u8> {
    (0..MUCH).map(|at| ((at * 31 + seed) % 251) as u8).collect()
}

#[tokio::test]
async fn the_true_server_is_at_the_other_end() {
    let scene = Scene::new().await;
    let (up, down) = (pattern(1), pattern(2));
    let (client, server) = tokio::join!(
        // The certificate is the true server's: whoever read along would have to show another one.
        async { shake(&scene.theirs, scene.tcp().await, TUNNEL, &["h2"]).await.unwrap() },
        scene.accept(TUNNEL, &["h2"]),
    );
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let ((mut from_server, mut to_server), (mut from_client, mut to_client)) =
        (tokio::io::split(client), tokio::io::split(server));
    let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
    let all = async {
        tokio::join!(
            async {
                to_server.write_all(&up).await.unwrap();
                to_server.shutdown().await.unwrap();
            },
            async {
                to_client.write_all(&down).await.unwrap();
                to_client.shutdown().await.unwrap();
            },
            from_client.read_to_end(&mut got_up),
            from_server.read_to_end(&mut got_down),
        )
    };
    let (.., up_read, down_read) = tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    assert_eq!((up_read.unwrap(), down_read.unwrap()), (MUCH, MUCH));
    assert!(got_up == up && got_down == down);
    drop((from_server, to_server, from_client, to_client));
    let load = scene.front.load();
    assert!(load.tunnel_up > MUCH as u64 && load.tunnel_down > MUCH as u64);
    assert_eq!((load.hellos.tunnelled, load.hellos.terminated), (1, 0));
    scene.end().await;
}

#[tokio::test]
async fn one_way_ends_and_the_other_goes_on() {
    let scene = Scene::with(FrontConfig::default(), Entry::Proxy, Admission::Tunnel).await;
    let mut client = connect(&scene, TUNNEL).await;
    let (mut server, _) = scene.upstream.accept().await.unwrap();
    let mut answer = [0; 39];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer[..], b"HTTP/1.1 200 Connection established\r\n\r\n");
    client.write_all(b"ping").await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"ping");
    // Much more than what is copied, behind an end in the other direction.
    let down = pattern(3);
    let (sent, received) = tokio::join!(
        async {
            server.write_all(&down).await.unwrap();
            server.shutdown().await
        },
        async {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        }
    );
    sent.unwrap();
    assert!(received == down);
    scene.end().await;
}

async fn connect(scene: &Scene, host: &str) -> TcpStream {
    let mut client = scene.tcp().await;
    let port = scene.upstream.local_addr().unwrap().port();
    client
        .write_all(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    client
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let scene = Scene::with(FrontConfig::default(), Entry::Proxy, Admission::Tunnel).await;
    let mut client = connect(&scene, TUNNEL).await;
    let (server, _) = scene.upstream.accept().await.unwrap();
    client.read_exact(&mut [0; 39]).await.unwrap();
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let broken = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    scene.end().await;
}

#[tokio::test]
async fn a_slow_reader_slows_the_writer_down() {
    let scene = Scene::with(FrontConfig::default(), Entry::Proxy, Admission::Tunnel).await;
    let mut client = connect(&scene, TUNNEL).await;
    let (mut server, _) = scene.upstream.accept().await.unwrap();
    client.read_exact(&mut [0; 39]).await.unwrap();
    // Nobody reads: what is under way is bounded, so that at some point no more is taken.
    let block = vec![7; 1024 * 1024];
    let mut written = 0;
    while let Ok(n) = tokio::time::timeout(Duration::from_millis(300), server.write(&block)).await {
        written += n.unwrap();
        assert!(written < 64 * 1024 * 1024, "somebody keeps it all");
    }
    let mut nowhere = sink();
    let (_, read) = tokio::join!(server.shutdown(), copy(&mut client, &mut nowhere));
    // Not closed by the client yet: the end came through.
    assert_eq!(read.unwrap(), written as u64);
    drop(client);
    scene.end().await;
}

#[tokio::test]
async fn an_idle_tunnel_ends() {
    let config = FrontConfig { tunnel_idle: Duration::from_millis(80), ..FrontConfig::default() };
    let scene = Scene::with(config, Entry::Proxy, Admission::Tunnel).await;
    let mut client = connect(&scene, TUNNEL).await;
    let (mut server, _) = scene.upstream.accept().await.unwrap();
    client.read_exact(&mut [0; 39]).await.unwrap();
    assert!(client.read(&mut [0; 1]).await.is_err());
    assert!(server.read(&mut [0; 1]).await.is_err());
    scene.end().await;
}

#[tokio::test]
async fn an_idle_tunnel_does_not_keep_the_program_from_ending() {
    let scene = Scene::with(FrontConfig::default(), Entry::Proxy, Admission::Tunnel).await;
    let mut client = connect(&scene, TUNNEL).await;
    let (_server, _) = scene.upstream.accept().await.unwrap();
    client.read_exact(&mut [0; 39]).await.unwrap();
    let began = std::time::Instant::now();
    scene.end().await;
    assert!(began.elapsed() < Duration::from_secs(4), "it waited for the grace to pass");
}

#[tokio::test]
async fn nobody_is_at_the_other_end() {
    let mut scene = Scene::new().await;
    let (free, _) = anywhere().await;
    drop(std::mem::replace(&mut scene.upstream, free));
    let told = shake(&scene.theirs, scene.tcp().await, TUNNEL, &[]).await.unwrap_err();
    assert!(told.to_string().contains("InternalError"), "{told}");
    while scene.front.load().hellos.unreachable == 0 {
        yield_now().await;
    }
    scene.end().await;
}
