//! A set of packs of one index: a bit for each.

use super::PackNumber;

#[derive(Debug, Default)]
pub(crate) struct PackSet {
    layers: Vec<Vec<u64>>,
}

impl PackSet {
    pub(crate) fn insert(&mut self, number: PackNumber) {
        let PackNumber { layer, pack } = number;
        let (layer, word) = (layer as usize, pack as usize / 64);
        if self.layers.len() <= layer {
            self.layers.resize(layer + 1, Vec::new());
        }
        let words = &mut self.layers[layer];
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        words[word] |= 1 << (pack % 64);
    }

    /// Its packs, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PackNumber> {
        (0..).zip(&self.layers).flat_map(|(layer, words)| {
            (0..).zip(words).flat_map(move |(word, bits)| {
                let packs = (0..u64::BITS).filter(move |bit| bits >> bit & 1 == 1);
                packs.map(move |bit| PackNumber { layer, pack: word * u64::BITS + bit })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_back_what_was_put_in_once() {
        let numbers = [(0, 0), (0, 63), (0, 64), (2, 1000)].map(|(layer, pack)| PackNumber { layer, pack });
        let mut set = PackSet::default();
        for number in numbers.iter().rev().chain(&numbers) {
            set.insert(*number);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), numbers);
    }
}
