//! Users behind connections over loopback.
//!
//! The kernel lists the sockets of this network with the users that made them (proc_pid_net(5), `tcp`). Other systems
//! than Linux do not say who made the other end of a connection: there everybody on this machine is let in.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::MetadataExt as _;

/// The kernel's tables: a client may have a socket of either family for the same address.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Number of times that a table is read that does not have a socket: one that changes while it is read may leave out a row.
const TRIES: u32 = 3;

/// Returns whether the client at the other end belongs to this process's own user, or to root, as Docker's engine does.
///
/// A user of another user namespace has no number here: it is nobody of ours.
pub(super) fn is_ours(connection: &TcpStream) -> bool {
    if cfg!(not(target_os = "linux")) {
        return true;
    }
    let ends = (connection.peer_addr(), connection.local_addr());
    let (Ok(SocketAddr::V4(client)), Ok(SocketAddr::V4(own))) = ends else { return false };
    let Ok(me) = std::fs::metadata("/proc/self").map(|process| process.uid()) else { return false };
    (0..TRIES).find_map(|_| user_of(client, own)).is_some_and(|user| user == me || user == 0)
}

fn user_of(client: SocketAddrV4, own: SocketAddrV4) -> Option<u32> {
    TABLES.iter().find_map(|table| owner(&std::fs::read_to_string(table).ok()?, client, own))
}

/// The user that a table names for the socket at `local` with its other end at `remote`. A socket that nobody holds any
/// more has no inode, and root for a user.
fn owner(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u32> {
    let is_it = |text: &str, address: SocketAddrV4| written(address).iter().any(|it| it == text);
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, from, to, _, _, _, _, user, _, inode, ..] = fields[..] else { return None };
        let is_held = is_it(from, local) && is_it(to, remote) && inode != "0";
        is_held.then(|| user.parse().ok()).flatten()
    })
}

/// An address as the two tables have it: words in the order of the processor's bytes, and the port.
fn written(address: SocketAddrV4) -> [String; 2] {
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let v4: Ipv4Addr = *address.ip();
    let (own, mapped) = (word(v4.octets()), word([0, 0, 0xff, 0xff]));
    let port = address.port();
    [format!("{own}:{port:04X}"), format!("{0:016X}{mapped}{own}:{port:04X}", 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener of user 1000 on port 5000, clients of users 1000, 65534 and root, and one that has gone.
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 100 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1388 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 101 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C001 0100007F:1388 01 00000000:00000000 00:00000000 00000000  1000        0 102 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:C002 0100007F:1388 01 00000000:00000000 00:00000000 00000000 65534        0 103 1 0000000000000000 20 4 30 10 -1
   4: 0100007F:C003 0100007F:1388 08 00000000:00000000 00:00000000 00000000     0        0 104 1 0000000000000000 20 4 30 10 -1
   5: 0100007F:C004 0100007F:1388 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
";

    /// The same of a client whose socket is of the other family.
    const TABLE6: &str = "\
   0: 0000000000000000FFFF00000100007F:C005 0000000000000000FFFF00000100007F:1388 01 00000000:00000000 00:00000000 00000000  1001        0 105 1 0000000000000000 20 4 30 10 -1
";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_client_is_the_user_that_holds_its_end() {
        let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let user = |table, port| owner(table, at(port), at(5000));
        assert_eq!(user(TABLE, 0xC001), Some(1000));
        assert_eq!(user(TABLE, 0xC002), Some(65534));
        assert_eq!(user(TABLE, 0xC003), Some(0));
        assert_eq!(user(TABLE, 0xC004), None, "nobody holds it: that is not root");
        assert_eq!(user(TABLE6, 0xC005), Some(1001));
        assert_eq!(user(TABLE, 0xC006), None);
        assert_eq!(owner(TABLE, at(0xC001), at(5001)), None, "another connection of the same client");
    }

    #[test]
    fn our_own_connections_are_ours() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_ours(&listener.accept().unwrap().0));
        drop(client);
    }
}
