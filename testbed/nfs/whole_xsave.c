/* Lets the user-mode Linux of Debian 12 (6.1) boot where the processor has AMX.
 *
 * It keeps room for 2,696 bytes of a process's extended registers and writes back as many. The host's kernel takes all
 * of them or none (Linux, arch/x86/kernel/fpu/regset.c, xstateregs_set), and with AMX they are some 11,000. So what is
 * written back is filled up with what the process has there already. Loaded by LD_PRELOAD, before the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long (*Ptrace)(enum __ptrace_request, pid_t, void *, void *);

/* Not on the stack: the guest's kernel runs on small ones of its own. It has one thread that traces. */
static char whole[1 << 16];

long ptrace(enum __ptrace_request request, ...) {
    va_list words;
    va_start(words, request);
    pid_t pid = va_arg(words, pid_t);
    void *address = va_arg(words, void *);
    void *data = va_arg(words, void *);
    va_end(words);

    Ptrace next = (Ptrace)dlsym(RTLD_NEXT, "ptrace");
    if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
        return next(request, pid, address, data);

    const struct iovec *part = data;
    struct iovec all = {whole, sizeof whole};
    if (next(PTRACE_GETREGSET, pid, address, &all) < 0)
        return -1;
    if (part->iov_len >= all.iov_len)
        return next(request, pid, address, data);
    memcpy(whole, part->iov_base, part->iov_len);
    return next(request, pid, address, &all);
}
