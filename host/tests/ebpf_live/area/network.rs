//! Sockets and DNS.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    path::Path,
    thread,
};

use picket_ebpf::{
    Header, Hook, Kind, Record,
    kind::{
        net_packet_dns_request::DnsRequest, net_packet_dns_response::DnsResponse, net_udp_send::UdpSend,
        security_socket_accept::Accept, security_socket_listen::Listen,
    },
};

use crate::checks::{Observed, Report, show, v4};

/// A backlog that nobody asks for by chance.
const BACKLOG: i32 = 7;
const QUERY: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x04pool\x07example\0\0\x01\0\x01";
const RESPONSE: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x04pool\x07example\0\0\x01\0\x01\
    \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x07";

pub fn act(_dir: &Path) -> io::Result<()> {
    accept()?;
    send()?;
    if !fs::read_to_string("/proc/self/mounts")?.contains(" cgroup2 ") {
        println!("cgroup-unavailable no unified hierarchy is mounted");
    }
    // In a network namespace of the thread's own: port 53 is free there.
    match thread::spawn(dns).join().map_err(|_| io::Error::other("thread"))? {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            println!("dns-unavailable {error}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn accept() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // SAFETY: a descriptor of our own.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) }, 0);
    let client = TcpStream::connect(listener.local_addr()?)?;
    listener.accept()?;
    println!("accept-port {}", listener.local_addr()?.port());
    println!("accept-fd {}", listener.as_raw_fd());
    println!("accept-peer {}", client.local_addr()?.port());
    listener.set_nonblocking(true)?;
    assert!(listener.accept().is_err());
    Ok(())
}

fn send() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    println!("send-port {}", socket.local_addr()?.port());
    println!("send-fd {}", socket.as_raw_fd());
    for _ in 0..3 {
        socket.send_to(b"x", "127.0.0.3:5300")?;
    }
    socket.send_to(b"x", "127.0.0.3:5301")?;
    // Connected: that was a connect, and is no send of this kind.
    socket.connect("127.0.0.3:5302")?;
    let _ = socket.send(b"x");
    if let Ok(six) = UdpSocket::bind("[::1]:0") {
        println!("send-six-port {}", six.local_addr()?.port());
        let _ = six.send_to(b"x", "[::1]:5300");
    }
    Ok(())
}

fn dns() -> io::Result<()> {
    own_network()?;
    let (server, client) = (UdpSocket::bind("127.0.0.1:53")?, UdpSocket::bind("127.0.0.1:0")?);
    println!("dns-port {}", client.local_addr()?.port());
    let mut buffer = [0; 512];
    client.send_to(QUERY, "127.0.0.1:53")?;
    let (_, asker) = server.recv_from(&mut buffer)?;
    // What is no message of the right direction is none.
    server.send_to(QUERY, asker)?;
    client.recv(&mut buffer)?;
    server.send_to(RESPONSE, asker)?;
    client.recv(&mut buffer)?;

    let server = TcpListener::bind("127.0.0.1:53")?;
    let mut client = TcpStream::connect("127.0.0.1:53")?;
    let (mut accepted, _) = server.accept()?;
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    client.write_all(&framed(QUERY))?;
    accepted.read_exact(&mut buffer[..QUERY.len() + 2])?;
    accepted.write_all(&framed(RESPONSE))?;
    client.read_exact(&mut buffer[..RESPONSE.len() + 2])
}

/// Gives the calling thread a network of its own, with nothing but a loopback device.
fn own_network() -> io::Result<()> {
    // SAFETY: no memory is shared; `request` is a valid ifreq, its name NUL-terminated, for the calls.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNET) != 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

pub fn check(o: &Observed<'_>, r: &mut Report) {
    let listens: Vec<_> = o.kind(Kind::SecuritySocketListen).filter_map(|l| Some((l, l.body::<Listen>()?))).collect();
    let port = o.number("accept-port");
    let listen = listens.iter().find(|(_, b)| b.backlog == BACKLOG);
    r.that(
        "listen: descriptor, address, backlog",
        listen.is_some_and(|(l, b)| {
            u64::from(b.fd.cast_unsigned()) == o.number("accept-fd")
                && v4(l.slice(Listen::LOCAL)).is_some_and(|(a, p)| a == [127, 0, 0, 1] && u64::from(p) == port)
        }),
        || format!("{listens:?}"),
    );
    let accepts: Vec<_> = o.kind(Kind::SecuritySocketAccept).filter_map(|a| Some((a, a.body::<Accept>()?))).collect();
    let mine: Vec<_> =
        accepts.iter().filter(|(a, _)| v4(a.slice(Accept::LOCAL)).is_some_and(|(_, p)| u64::from(p) == port)).collect();
    r.that(
        "accept: once, with the peer and the listening descriptor; not what would block",
        mine.len() == 1
            && u64::from(mine[0].1.fd.cast_unsigned()) == o.number("accept-fd")
            && mine[0].1.type_ == 1
            && v4(mine[0].0.slice(Accept::REMOTE))
                .is_some_and(|(a, p)| a == [127, 0, 0, 1] && u64::from(p) == o.number("accept-peer")),
        || format!("{accepts:?}"),
    );
    if o.facts.contains_key("cgroup-unavailable") {
        println!("  skipped: sends and DNS need the unified control group hierarchy");
        return;
    }
    sends(o, r);
    if let Some(why) = o.facts.get("dns-unavailable") {
        println!("  skipped: DNS needs a network namespace: {why}");
        return;
    }
    dns_records(o, r);
}

fn sends(o: &Observed<'_>, r: &mut Report) {
    let sends: Vec<_> = o.kind(Kind::NetUdpSend).filter_map(|s| Some((s, s.body::<UdpSend>()?))).collect();
    let to = |port: u16| {
        let of_port = |s: &&(&Record<'_>, UdpSend)| v4(s.0.slice(UdpSend::REMOTE)) == Some(([127, 0, 0, 3], port));
        sends.iter().filter(of_port).collect::<Vec<_>>()
    };
    let first = to(5300);
    r.that(
        "send: the first to a peer only, with both ends",
        first.len() == 1
            && first[0].1.type_ == 2
            && v4(first[0].0.slice(UdpSend::LOCAL)).is_some_and(|(_, p)| u64::from(p) == o.number("send-port"))
            && first[0].0.hook() == Some(Hook::Cgroup),
        || format!("{sends:?}"),
    );
    r.that(
        "send: descriptor, where it is known",
        first.first().is_some_and(|(_, b)| b.fd == -1 || u64::from(b.fd.cast_unsigned()) == o.number("send-fd")),
        || format!("{sends:?}"),
    );
    r.that("send: another port is another peer", to(5301).len() == 1, || format!("{sends:?}"));
    r.that("send: not on a connected socket", to(5302).is_empty(), || format!("{sends:?}"));
    if o.facts.contains_key("send-six-port") {
        let six = sends.iter().filter(|(s, _)| {
            let bytes = s.slice(UdpSend::REMOTE).bytes;
            bytes.len() == 28 && bytes[2..4] == 5300u16.to_be_bytes() && bytes[8..23] == [0; 15] && bytes[23] == 1
        });
        let six = six.count();
        r.that("send: IPv6", six == 1, || format!("{six} of {sends:?}"));
    }
}

/// The actor's main thread is not the one that asked; the process is the actor's.
fn is_asker(h: &Header, o: &Observed<'_>) -> bool {
    h.pid == o.pid && h.tid != 0 && h.tid != o.pid && h.leader_start != 0
}

fn dns_records(o: &Observed<'_>, r: &mut Report) {
    let home = [127, 0, 0, 1];
    let requests: Vec<_> =
        o.kind(Kind::NetPacketDnsRequest).filter_map(|q| Some((q, q.body::<DnsRequest>()?))).collect();
    let responses: Vec<_> =
        o.kind(Kind::NetPacketDnsResponse).filter_map(|a| Some((a, a.body::<DnsResponse>()?))).collect();
    for (protocol, name) in [(17, "UDP"), (6, "TCP")] {
        let asked: Vec<_> = requests.iter().filter(|(_, b)| b.protocol == protocol).collect();
        r.that(
            &format!("DNS request over {name}: once, whole, by its process"),
            asked.len() == 1
                && asked[0].0.slice(DnsRequest::MESSAGE).bytes == QUERY
                && is_asker(asked[0].0.header(), o)
                && asked[0].1.version == 4
                && asked[0].1.destination_port == 53
                && asked[0].1.source[..4] == home
                && asked[0].1.destination[..4] == home,
            || {
                format!(
                    "{requests:?} {}",
                    asked.first().map_or(String::new(), |a| show(a.0.slice(DnsRequest::MESSAGE)))
                )
            },
        );
        let answered: Vec<_> = responses.iter().filter(|(_, b)| b.protocol == protocol).collect();
        r.that(
            &format!("DNS response over {name}: once, whole, for the process that asked"),
            answered.len() == 1
                && answered[0].0.slice(DnsResponse::MESSAGE).bytes == RESPONSE
                && is_asker(answered[0].0.header(), o)
                && answered[0].1.source_port == 53,
            || format!("{responses:?}"),
        );
    }
    let port = requests.iter().find(|(_, b)| b.protocol == 17).map(|(_, b)| u64::from(b.source_port));
    r.that("DNS request: the asker's port", port == Some(o.number("dns-port")), || format!("{port:?}"));
}
