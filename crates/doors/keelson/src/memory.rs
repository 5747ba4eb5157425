//! How the C library hands memory out: so that what was given back can be used again.

/// Four threads that each build packs of 16 MiB leave an arena each behind, none of which the others use: the resident
/// peak doubles (`docs/performance.md`). One arena, and large pieces outside of it that go back at once, keep it flat.
/// Called before there is a second thread.
#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "the C library offers no other way, short of setting variables before the start"
)]
pub(crate) fn keep_flat() {
    const TRIM_BYTES: libc::c_int = 1 << 20;
    const MMAP_BYTES: libc::c_int = 256 << 10;
    // SAFETY: `mallopt` takes plain numbers; it only must not run beside another thread's first allocation.
    let taken = unsafe {
        [
            libc::mallopt(libc::M_ARENA_MAX, 1),
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES),
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_BYTES),
        ]
    };
    debug_assert_eq!(taken, [1; 3]);
}

/// Other C libraries have no arenas.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_flat() {}
