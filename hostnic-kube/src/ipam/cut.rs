//! Which addresses of a vxnet are for pods, and the blocks that a vxnet is cut into.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use hostnic_core::cloud::Carrier;
use ipnet::Ipv4Net;

use super::block::Block;
use super::name::BlockName;

/// How many addresses at the end of a vxnet's DHCP range stay the cloud's, where vxlan carries it.
const CLOUDS: u32 = 12;
/// Which part of it, where a VLAN does.
const PART_OF_VLAN: u32 = 7;

/// Why a vxnet cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Uncuttable {
    #[error(
        "its DHCP range {first} to {last} has no more addresses than the {clouds} that stay the cloud's; choose a larger vxnet"
    )]
    TooSmall { first: Ipv4Addr, last: Ipv4Addr, clouds: u32 },
    #[error("customReservedIPCount is {more}, and may be 0 to {most} for this vxnet")]
    TooManyReserved { more: u32, most: u32 },
    #[error("blockSize is {block}: it must be {cidr}'s own prefix length or longer, and at most 32")]
    BlockSize { block: u8, cidr: Ipv4Net },
    #[error("blockSize {0} makes blocks of more addresses than one object can tell of; choose 16 or longer")]
    TooLarge(u8),
}

/// The addresses that are claimed from the cloud for pods, of a vxnet's DHCP range. So many `more` stay the cloud's in a VLAN, as
/// who made the pool wants it.
///
/// # Errors
/// When none would be left, or what the pool reserves is out of its bounds.
pub(crate) fn claimed(
    first: Ipv4Addr,
    last: Ipv4Addr,
    carrier: Carrier,
    more: u32,
) -> Result<RangeInclusive<Ipv4Addr>, Uncuttable> {
    let total = u32::from(last).saturating_sub(u32::from(first)).saturating_add(1);
    let clouds = match carrier {
        Carrier::Vlan => {
            let part = total / PART_OF_VLAN;
            let most = total - part - 1;
            if more > most {
                return Err(Uncuttable::TooManyReserved { more, most });
            }
            part + more
        }
        _ => CLOUDS,
    };
    if first > last || clouds >= total {
        return Err(Uncuttable::TooSmall { first, last, clouds });
    }
    Ok(first..=Ipv4Addr::from(u32::from(last) - clouds))
}

/// All blocks of a vxnet, in the order of their addresses. Those outside `usable` are nobody's.
///
/// # Errors
/// When `prefix` cuts it into none.
pub(crate) fn blocks(
    id: u32,
    cidr: Ipv4Net,
    prefix: u8,
    usable: &RangeInclusive<Ipv4Addr>,
) -> Result<Vec<Block>, Uncuttable> {
    let cidrs = cidr.trunc().subnets(prefix).map_err(|_| Uncuttable::BlockSize { block: prefix, cidr })?;
    let block = |cidr| Block::new(BlockName::new(id, cidr), usable).ok_or(Uncuttable::TooLarge(prefix));
    cidrs.map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::super::block::Usage;
    use super::super::name::LOCAL;
    use super::*;

    fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 16, 3, last)
    }

    #[test]
    fn the_end_of_the_range_stays_the_clouds() {
        assert_eq!(claimed(at(2), at(254), Carrier::Vxlan, 0), Ok(at(2)..=at(242)));
        // 253 addresses, of which 36 are a seventh.
        assert_eq!(claimed(at(2), at(254), Carrier::Vlan, 0), Ok(at(2)..=at(218)));
        assert_eq!(claimed(at(2), at(254), Carrier::Vlan, 216), Ok(at(2)..=at(2)));
        assert_eq!(
            claimed(at(2), at(254), Carrier::Vlan, 217),
            Err(Uncuttable::TooManyReserved { more: 217, most: 216 })
        );
        assert_eq!(claimed(at(1), at(13), Carrier::Vxlan, 0), Ok(at(1)..=at(1)));
        for (first, last) in [(at(1), at(12)), (at(9), at(2))] {
            assert_eq!(
                claimed(first, last, Carrier::Vxlan, 0),
                Err(Uncuttable::TooSmall { first, last, clouds: 12 })
            );
        }
    }

    #[test]
    fn a_vxnet_is_cut_into_blocks_whose_ends_are_reserved() {
        let vxnet = "172.16.3.0/24".parse().unwrap();
        let cut = blocks(LOCAL, vxnet, 26, &(at(2)..=at(242))).unwrap();
        let names: Vec<String> = cut.iter().map(|block| block.name().to_string()).collect();
        assert_eq!(
            names,
            ["4100-172-16-3-0-26", "4100-172-16-3-64-26", "4100-172-16-3-128-26", "4100-172-16-3-192-26"]
        );
        let free: Vec<Usage> = cut.iter().map(Block::usage).collect();
        assert_eq!(
            free.iter().map(|usage| (usage.reserved, usage.free)).collect::<Vec<_>>(),
            [(2, 62), (0, 64), (0, 64), (13, 51)]
        );
        for prefix in [23, 33] {
            assert!(matches!(
                blocks(LOCAL, vxnet, prefix, &(at(2)..=at(9))),
                Err(Uncuttable::BlockSize { .. })
            ));
        }
        let large = blocks(LOCAL, "10.0.0.0/8".parse().unwrap(), 15, &(at(2)..=at(9)));
        assert_eq!(large, Err(Uncuttable::TooLarge(15)));
    }
}
