//! Which addresses are the public internet, which are somebody's own network, and which are never
//! a service connection's business.
//!
//! A pure table over the IANA special-purpose registries (IPv4: RFC 6890 and successors; IPv6
//! likewise) and the metadata addresses of the clouds. IPv6 forms that carry an IPv4 address are
//! judged by both. What is done with the verdict is decided in [`super::Gate`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address this is, from harmless to forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The public internet.
    Public,
    /// Somebody's own network: refused unless the operator allowed it.
    Private(&'static str),
    /// Refused always: nothing that a connection may stand for lives there.
    Forbidden(&'static str),
}

/// Cloud metadata services hand out the machine's own credentials to anyone who asks from it, so
/// no allowance opens them. Most are link-local, which is refused as a whole; these are not.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud, classic
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's platform address
];

/// See [`METADATA_V4`].
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254), // AWS
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254), // Google Cloud
    Ipv6Addr::new(0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042), // Scaleway
];

/// Judges an address. The strictest verdict over the address and any IPv4 address inside wins.
pub fn judge(address: IpAddr) -> Verdict {
    match address {
        IpAddr::V4(address) => judge_v4(address),
        IpAddr::V6(address) => match Embedded::of(address) {
            Embedded::Same(inner) => judge_v4(inner),
            Embedded::Routed(inner) => judge_v6(address).max(judge_v4(inner)),
            Embedded::No => judge_v6(address),
        },
    }
}

/// Returns the addresses that an allowance must cover for this one: the IPv4 address inside of
/// an IPv6 form, else the address itself.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => match Embedded::of(address) {
            Embedded::Same(inner) | Embedded::Routed(inner) => IpAddr::V4(inner),
            Embedded::No => IpAddr::V6(address),
        },
        IpAddr::V4(_) => address,
    }
}

/// An IPv4 address inside an IPv6 one.
enum Embedded {
    /// None.
    No,
    /// The same address in another spelling.
    Same(Ipv4Addr),
    /// A way through a translator or tunnel to that address.
    Routed(Ipv4Addr),
}

impl Embedded {
    fn of(address: Ipv6Addr) -> Self {
        let parts = address.segments();
        let pair = |high: u16, low: u16| {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Ipv4Addr::new(a, b, c, d)
        };
        match parts {
            // `::ffff:a.b.c.d`, IPv4-mapped (RFC 4291 §2.5.5.2): the system connects by IPv4.
            [0, 0, 0, 0, 0, 0xffff, high, low] => Self::Same(pair(high, low)),
            // `::a.b.c.d`, IPv4-compatible (RFC 4291 §2.5.5.1), without `::` and `::1`.
            [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Self::Routed(pair(high, low)),
            // `::ffff:0:a.b.c.d`, IPv4-translated (RFC 2765).
            [0, 0, 0, 0, 0xffff, 0, high, low]
            // `64:ff9b::a.b.c.d`, NAT64 (RFC 6052).
            | [0x0064, 0xff9b, 0, 0, 0, 0, high, low]
            // `2002:AABB:CCDD::`, 6to4 (RFC 3056).
            | [0x2002, high, low, ..]
            // `…:0:5efe:a.b.c.d`, ISATAP (RFC 5214).
            | [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => Self::Routed(pair(high, low)),
            _ => Self::No,
        }
    }
}

fn judge_v4(address: Ipv4Addr) -> Verdict {
    if METADATA_V4.contains(&address) {
        return Verdict::Forbidden("a cloud metadata address");
    }
    match address.octets() {
        [0, ..] => Verdict::Forbidden("an unspecified address"),
        [169, 254, ..] => Verdict::Forbidden("a link-local or cloud metadata address"),
        [224..=239, ..] => Verdict::Forbidden("a multicast address"),
        [240..=255, ..] => Verdict::Forbidden("a reserved address"),
        [127, ..] => Verdict::Private("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Verdict::Private("a private address"),
        [100, 64..=127, ..] => Verdict::Private("a carrier's shared address"),
        [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Verdict::Private("an address for special purposes"),
        _ => Verdict::Public,
    }
}

fn judge_v6(address: Ipv6Addr) -> Verdict {
    if METADATA_V6.contains(&address) {
        return Verdict::Forbidden("a cloud metadata address");
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Verdict::Forbidden("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Verdict::Private("a loopback address"),
        [0xfe80..=0xfebf, ..] => Verdict::Forbidden("a link-local address"),
        [0xff00..=0xffff, ..] => Verdict::Forbidden("a multicast address"),
        // Teredo (RFC 4380) hides an IPv4 address behind a XOR, local NAT64 (RFC 8215) at a place
        // only its operator knows, and 100::/64 (RFC 6666) is where packets go to die.
        [0x2001, 0, ..] | [0x0064, 0xff9b, 1, ..] | [0x0100, 0, 0, 0, ..] => {
            Verdict::Forbidden("a tunnel or discard address")
        }
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Verdict::Private("a private address"),
        [0x2001, 0x0db8 | 0x0001..=0x01ff, ..] | [0x3fff, 0..=0x0fff, ..] => {
            Verdict::Private("an address for special purposes")
        }
        [0x2000..=0x3fff, ..] | [0x0064, 0xff9b, 0, ..] => Verdict::Public,
        // Everything else is not assigned to the public internet (2000::/3).
        _ => Verdict::Private("an unassigned address"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(text: &str) -> Verdict {
        judge(text.parse().unwrap())
    }

    #[test]
    fn metadata_link_local_multicast_and_unspecified_are_forbidden() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:42::42",
            "2001::1",
            "64:ff9b:1::1",
            "100::1",
        ] {
            assert!(matches!(verdict(text), Verdict::Forbidden(_)), "{text}: {:?}", verdict(text));
        }
    }

    #[test]
    fn own_networks_are_private() {
        for text in [
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "2001:db8::1",
            "4000::1",
            "3fff::1",
        ] {
            assert!(matches!(verdict(text), Verdict::Private(_)), "{text}: {:?}", verdict(text));
        }
    }

    #[test]
    fn the_public_internet_is_public() {
        for text in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "11.0.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(verdict(text), Verdict::Public, "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_too() {
        for form in [
            "::ffff:{}",
            "::{}",
            "64:ff9b::{}",
            "::ffff:0:{}",
            "2606:4700::5efe:{}",
            "2606:4700::200:5efe:{}",
        ] {
            let loopback = form.replace("{}", "127.0.0.1");
            assert!(matches!(verdict(&loopback), Verdict::Private(_)), "{loopback}");
            let metadata = form.replace("{}", "169.254.169.254");
            assert!(matches!(verdict(&metadata), Verdict::Forbidden(_)), "{metadata}");
        }
        assert!(matches!(verdict("2002:7f00:1::"), Verdict::Private(_)));
        assert!(matches!(verdict("2002:a9fe:a9fe::1"), Verdict::Forbidden(_)));
        assert_eq!(
            canonical("::ffff:10.0.0.1".parse().unwrap()),
            "10.0.0.1".parse::<IpAddr>().unwrap()
        );
    }

    proptest! {
        #[test]
        fn no_ipv6_form_makes_an_ipv4_address_look_more_harmless(octets in any::<[u8; 4]>()) {
            let inner = Ipv4Addr::from(octets);
            let [high, low] = [
                u16::from_be_bytes([octets[0], octets[1]]),
                u16::from_be_bytes([octets[2], octets[3]]),
            ];
            prop_assert_eq!(judge(inner.to_ipv6_mapped().into()), judge(inner.into()));
            for parts in [
                [0x0064, 0xff9b, 0, 0, 0, 0, high, low],
                [0x2002, high, low, 0, 0, 0, 0, 1],
                [0, 0, 0, 0, 0xffff, 0, high, low],
                [0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low],
            ] {
                let outer = Ipv6Addr::from(parts);
                prop_assert!(judge(outer.into()) >= judge(inner.into()), "{}", outer);
            }
        }
    }
}
