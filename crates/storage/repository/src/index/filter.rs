//! Which rows of a page may have a key: a sorted list of shortened keys in about ten bits each.
//!
//! Keys are hashes and rows are sorted by them, so the place of a shortened key in the list is that of its row: the
//! filter says where to read as well as whether, in one read. The upper bits are counted in unary, a group of ones
//! and a zero for each value they can have; the lower eight are kept as they are (Elias and Fano's code). Of absent
//! keys one in 150 to 250 passes. A Bloom filter as large lets more pass, and needs a list of fences beside it;
//! a fuse filter needs all keys in memory to be made, this one only a page of them.

use std::ops::Range;

/// What is left of a key when its page and group are known.
const LOW_BITS: u32 = 8;
/// Groups between two places where counting may start.
const SAMPLED_GROUPS: usize = 256;

/// A page's filter. Keys are the 64 bits that follow those which choose the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    group_bits: u32,
    /// The bit at which every 256th group begins.
    samples: Box<[u32]>,
    highs: Box<[u64]>,
    lows: Box<[u8]>,
}

impl Filter {
    /// `keys` ascend.
    pub(super) fn build(keys: &[u64]) -> Self {
        debug_assert!(keys.is_sorted(), "rows are sorted");
        let group_bits = keys.len().max(1).ilog2();
        let groups = 1usize << group_bits;
        let mut highs = vec![0u64; (keys.len() + groups).div_ceil(64)];
        let mut samples = Vec::with_capacity(groups.div_ceil(SAMPLED_GROUPS));
        let (mut bit, mut rest) = (0, keys);
        for group in 0..groups {
            if group % SAMPLED_GROUPS == 0 {
                samples.push(bit as u32);
            }
            while let Some((key, behind)) = rest.split_first()
                && group_of(*key, group_bits) == group
            {
                highs[bit / 64] |= 1 << (bit % 64);
                bit += 1;
                rest = behind;
            }
            bit += 1;
        }
        let lows = keys.iter().map(|key| low_of(*key, group_bits)).collect();
        Self { group_bits, samples: samples.into(), highs: highs.into(), lows }
    }

    /// The rows that may have the key.
    pub(super) fn find(&self, key: u64) -> Range<u32> {
        let group = group_of(key, self.group_bits);
        let begin = self.begin_of(group);
        // Before it lie `group` zeros, and a one for each row.
        let first = begin - group;
        let ones = |bit: usize| (self.highs[bit / 64] >> (bit % 64)).trailing_ones() as usize;
        let mut end = begin + ones(begin);
        while end > begin && end.is_multiple_of(64) && ones(end) > 0 {
            end += ones(end);
        }
        let lows = &self.lows[first..first + (end - begin)];
        let low = low_of(key, self.group_bits);
        let before = lows.partition_point(|other| *other < low);
        let equal = lows[before..].partition_point(|other| *other == low);
        (first + before) as u32..(first + before + equal) as u32
    }

    /// The bit at which a group begins.
    fn begin_of(&self, group: usize) -> usize {
        let mut bit = self.samples[group / SAMPLED_GROUPS] as usize;
        let mut zeros = (group % SAMPLED_GROUPS) as u32;
        while zeros > 0 {
            let mut word = !self.highs[bit / 64] >> (bit % 64);
            let here = word.count_ones();
            if here < zeros {
                zeros -= here;
                bit = (bit / 64 + 1) * 64;
                continue;
            }
            for _ in 1..zeros {
                word &= word - 1;
            }
            return bit + word.trailing_zeros() as usize + 1;
        }
        bit
    }

    /// Bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.samples.len() * 4 + self.highs.len() * 8 + self.lows.len()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes());
        for sample in &self.samples {
            bytes.extend_from_slice(&sample.to_le_bytes());
        }
        for word in &self.highs {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.lows);
        bytes
    }

    /// `None` for what cannot be a filter of so many rows.
    pub(super) fn decode(bytes: &[u8], rows: u32) -> Option<Self> {
        let rows = rows as usize;
        let group_bits = rows.max(1).ilog2();
        let groups = 1usize << group_bits;
        let (samples, rest) = bytes.split_at_checked(groups.div_ceil(SAMPLED_GROUPS) * 4)?;
        let (highs, lows) = rest.split_at_checked((rows + groups).div_ceil(64) * 8)?;
        let (samples, _) = samples.as_chunks::<4>();
        let (highs, _) = highs.as_chunks::<8>();
        let filter = Self {
            group_bits,
            samples: samples.iter().map(|sample| u32::from_le_bytes(*sample)).collect(),
            highs: highs.iter().map(|word| u64::from_le_bytes(*word)).collect(),
            lows: lows.into(),
        };
        (filter.lows.len() == rows && filter.is_sound(groups)).then_some(filter)
    }

    /// What `find` relies on: a one for each row, every group ends, and counting starts where groups begin.
    fn is_sound(&self, groups: usize) -> bool {
        let bits = self.lows.len() + groups;
        let ones_below = |bit: usize| {
            let part = self.highs.get(bit / 64).map_or(0, |word| word & !(u64::MAX << (bit % 64)));
            part.count_ones() as usize
        };
        let (mut word, mut ones) = (0, 0);
        for (index, sample) in self.samples.iter().enumerate() {
            let bit = *sample as usize;
            if bit >= bits || bit / 64 < word || (bit > 0 && self.is_one(bit - 1)) {
                return false;
            }
            ones += self.highs[word..bit / 64].iter().map(|word| word.count_ones() as usize).sum::<usize>();
            word = bit / 64;
            if bit - ones - ones_below(bit) != index * SAMPLED_GROUPS {
                return false;
            }
        }
        ones += self.highs[word..bits / 64].iter().map(|word| word.count_ones() as usize).sum::<usize>();
        let behind = self.highs[bits / 64..].iter().map(|word| word.count_ones() as usize).sum::<usize>();
        ones + ones_below(bits) == self.lows.len() && behind == ones_below(bits) && !self.is_one(bits - 1)
    }

    fn is_one(&self, bit: usize) -> bool {
        self.highs[bit / 64] >> (bit % 64) & 1 == 1
    }
}

/// A number of rows and a filter of so many, for `fuzz`.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_filter(bytes: &[u8]) -> bool {
    let Some((rows, body)) = bytes.split_first_chunk() else { return false };
    let rows = u32::from_le_bytes(*rows);
    let Some(filter) = Filter::decode(body, rows) else { return false };
    assert_eq!(filter.encode(), body, "{filter:?}");
    let keys = body.as_chunks().0.iter().map(|key| u64::from_be_bytes(*key));
    for key in keys.chain([0, 1, u64::MAX / 3, u64::MAX]) {
        let found = filter.find(key);
        assert!(found.start <= found.end && found.end <= rows, "{found:?} of {filter:?}");
    }
    true
}

/// What [`withstand_filter`] takes.
#[cfg(any(test, fuzzing))]
pub(crate) fn filter_samples() -> Vec<Vec<u8>> {
    [0_u64, 1, 31, 32, 600]
        .map(|count| {
            let keys: Vec<u64> = (0..count).map(|number| number * (u64::MAX / 700)).collect();
            [&(count as u32).to_le_bytes()[..], &Filter::build(&keys).encode()].concat()
        })
        .to_vec()
}

fn group_of(key: u64, group_bits: u32) -> usize {
    key.checked_shr(u64::BITS - group_bits).unwrap_or(0) as usize
}

fn low_of(key: u64, group_bits: u32) -> u8 {
    (key >> (u64::BITS - group_bits - LOW_BITS)) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Steps of a generator whose values look like hashes.
    fn spread(number: u64) -> u64 {
        let mixed = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn it_takes_ten_bits_a_key_and_lets_one_absent_key_in_150_pass() {
        for count in [8192u64, 12_000, 16_383] {
            let mut keys: Vec<_> = (0..count).map(spread).collect();
            keys.sort_unstable();
            let filter = Filter::build(&keys);
            let bits = filter.bytes() as f64 * 8.0 / count as f64;
            assert!(bits < 10.2, "{bits} bits a key");
            let passed = (count..count + 100_000).filter(|key| !filter.find(spread(*key)).is_empty()).count();
            assert!((100..=900).contains(&passed), "{passed} of 100,000 pass");
        }
    }

    /// Its counts were right, and the first lookup ended in a panic.
    #[test]
    fn a_filter_whose_groups_begin_elsewhere_is_refused() {
        let keys: Vec<u64> = (0..600).map(|number| number * (u64::MAX / 700)).collect();
        let bytes = Filter::build(&keys).encode();
        for (at, value) in [(0, 1), (3, 0xff), (4, 0), (5, 0x7f)] {
            let mut changed = bytes.clone();
            changed[at] = value;
            assert!(changed != bytes && Filter::decode(&changed, 600).is_none(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn every_key_is_found_at_its_row_whatever_the_keys(
            keys in prop::collection::vec(
                prop_oneof![any::<u64>(), 0..4u64, any::<u64>().prop_map(|key| key | 0xffff_0000_0000_0000)],
                0..700,
            ),
        ) {
            let mut keys = keys;
            keys.sort_unstable();
            let filter = Filter::build(&keys);
            let again = Filter::decode(&filter.encode(), keys.len() as u32);
            prop_assert_eq!(again.as_ref(), Some(&filter));
            for (row, key) in keys.iter().enumerate() {
                let found = filter.find(*key);
                prop_assert!(found.contains(&(row as u32)), "{} not in {:?}", row, found);
            }
            prop_assert!(Filter::decode(&filter.encode(), keys.len() as u32 + 1).is_none());
        }
    }
}
