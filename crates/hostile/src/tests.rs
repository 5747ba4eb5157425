//! Each fault that a decoder can have is found, and an innocent one passes.

use std::panic::catch_unwind;

use super::*;

/// A length and that many bytes.
fn sample() -> Vec<(&'static str, Vec<u8>)> {
    vec![("record", [&3_u32.to_le_bytes()[..], b"abc"].concat())]
}

fn message(decode: fn(&[u8]) -> bool) -> Option<String> {
    let caught = catch_unwind(|| Bombardment::of(&[("record", decode)], sample()).run());
    caught.err().map(|panic| *panic.downcast::<String>().expect("a panic of ours has a text"))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*length) as usize, rest))
}

#[test]
fn a_careful_decoder_withstands_everything() {
    let careful = |bytes: &[u8]| length(bytes).is_some_and(|(length, rest)| rest.len() == length);
    assert_eq!(message(careful), None);
}

#[test]
fn a_decoder_that_panics_is_told_with_its_input() {
    let trusting = |bytes: &[u8]| length(bytes).is_some_and(|(length, rest)| !rest[..length].is_empty());
    let message = message(trusting).expect("a length beyond the end");
    assert!(message.starts_with("'record' does not withstand "), "{message}");
}

#[test]
fn a_decoder_that_believes_a_length_is_told_how_much_it_held() {
    let greedy = |bytes: &[u8]| {
        length(bytes).is_some_and(|(length, rest)| {
            Vec::<u8>::with_capacity(length.min(1 << 30)).capacity() >= rest.len()
        })
    };
    let message = message(greedy).expect("a length of gigabytes");
    assert!(message.contains("bytes of memory"), "{message}");
}

#[test]
fn a_sample_is_tried_as_it_is() {
    let run = |decode: fn(&[u8]) -> bool| {
        catch_unwind(|| Bombardment::of(&[("record", decode)], sample()).run_samples()).is_ok()
    };
    assert!(run(|bytes| bytes.len() == 7));
    assert!(!run(|_| false), "it is not taken");
    assert!(!run(|bytes| Vec::<u8>::with_capacity(1 << 20).capacity() >= bytes.len()), "it holds too much");
}

#[test]
fn a_decoder_that_takes_two_spellings_of_one_value_is_told() {
    let lax = |bytes: &[u8]| {
        let Some((length, rest)) = length(bytes).filter(|(length, rest)| rest.len() >= *length) else {
            return false;
        };
        let again = [&(length as u32).to_le_bytes()[..], &rest[..length]].concat();
        assert_eq!(again, bytes, "it is written otherwise");
        true
    };
    assert!(message(lax).is_some());
}

#[test]
fn a_sample_that_is_none_and_a_target_without_one_are_told() {
    assert!(message(|_| false).is_some_and(|message| message.contains("its own sample")));
    let nothing = catch_unwind(|| Bombardment::of(&[("record", |_| true)], Vec::new()).run());
    assert!(nothing.is_err());
}
