/* Comes between a process and the files of one ledger (LD_PRELOAD): counts their writes, syncs and
 * truncations, and at the Nth of them kills the process, before or after, or lets the call fail.
 * After each sync it copies the file aside: what a machine without power would find again.
 * The binary under test is the one that users run; nothing is built into it.
 *
 *   DWELL_FAULT_LEDGER  path of the ledger; `-wal`, `-journal` and `.marks` beside it count too
 *   DWELL_FAULT_ONLY    counts only operations whose words hold this, as in `sync -wal` (optional)
 *   DWELL_FAULT_AT      N, from 1; 0 only counts
 *   DWELL_FAULT_HOW     before | after | eio | enospc | eio-ever | enospc-ever
 *   DWELL_FAULT_SEEN    file for `OPERATION PATH` of the Nth call, or `total COUNT` at the end
 *   DWELL_FAULT_DISK    folder for what was synced (optional) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long count;
static long at;
static const char *ledger, *how, *seen, *disk, *only;

#define REAL(name)                                      \
    static __typeof__(name) *real;                      \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static ssize_t real_write(int fd, const void *bytes, size_t n) {
    REAL(write);
    return real(fd, bytes, n);
}

static void say(const char *text) {
    int fd = open(seen, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (real_write(fd, text, strlen(text)) < 0) { /* the test misses it */ }
    close(fd);
}

__attribute__((constructor)) static void begin(void) {
    ledger = getenv("DWELL_FAULT_LEDGER");
    how = getenv("DWELL_FAULT_HOW");
    seen = getenv("DWELL_FAULT_SEEN");
    disk = getenv("DWELL_FAULT_DISK");
    only = getenv("DWELL_FAULT_ONLY");
    at = getenv("DWELL_FAULT_AT") ? atol(getenv("DWELL_FAULT_AT")) : 0;
    if (!how || !seen) ledger = NULL;
}

__attribute__((destructor)) static void end(void) {
    char text[64];
    if (!ledger || (at > 0 && count >= at)) return;
    snprintf(text, sizeof text, "total %ld\n", (long)count);
    say(text);
}

/* What stands after the ledger's path, or NULL: not a file that lasts. */
static const char *ours(int fd, char *path) {
    char link[64];
    if (!ledger) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return NULL;
    path[n] = 0;
    size_t l = strlen(ledger);
    if (strncmp(path, ledger, l) != 0) return NULL;
    const char *rest = path + l;
    int lasts = !*rest || !strcmp(rest, "-wal") || !strcmp(rest, "-journal") || !strcmp(rest, ".marks");
    return lasts ? rest : NULL;
}

static void die(const char *operation, const char *path) {
    char text[PATH_MAX + 32];
    snprintf(text, sizeof text, "%s %s\n", operation, path);
    say(text);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* The call's number, 0 for a foreign file, or -1 when it fails; errno is set then. */
static long enter(const char *operation, int fd, char *path) {
    const char *file = ours(fd, path);
    char words[32];
    if (!file) return 0;
    snprintf(words, sizeof words, "%s %s", operation, *file ? file : ".db");
    if (only && !strstr(words, only)) return 0;
    long n = ++count;
    int ever = strstr(how, "-ever") != NULL;
    if (at == 0 || n < at || (n > at && !ever)) return n;
    if (!strcmp(how, "before")) die(operation, path);
    if (!strcmp(how, "after")) return n;
    if (n == at) {
        char text[PATH_MAX + 32];
        snprintf(text, sizeof text, "%s %s\n", operation, path);
        say(text);
    }
    errno = !strncmp(how, "enospc", 6) && strcmp(operation, "sync") ? ENOSPC : EIO;
    return -1;
}

static void leave(long n, const char *operation, const char *path) {
    int saved = errno;
    if (n > 0 && n == at && !strcmp(how, "after")) die(operation, path);
    errno = saved;
}

/* The whole file as it is now, in one step. */
static void keep(const char *path) {
    char to[PATH_MAX], part[PATH_MAX + 8], bytes[65536];
    const char *name = strrchr(path, '/');
    if (!disk || !name) return;
    if (snprintf(to, sizeof to, "%s%s", disk, name) >= (int)sizeof to) return;
    snprintf(part, sizeof part, "%s.part", to);
    int in = open(path, O_RDONLY | O_CLOEXEC), out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = 0;
    while (in >= 0 && out >= 0 && (n = read(in, bytes, sizeof bytes)) > 0)
        if (real_write(out, bytes, n) != n) break;
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    if (n == 0) rename(part, to);
}

#define CALL(operation, type, expression)               \
    char path[PATH_MAX];                                \
    long n = enter(operation, fd, path);                \
    if (n < 0) return -1;                               \
    type result = expression;                           \
    leave(n, operation, path);                          \
    return result

ssize_t write(int fd, const void *bytes, size_t size) {
    CALL("write", ssize_t, real_write(fd, bytes, size));
}
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    REAL(pwrite);
    CALL("write", ssize_t, real(fd, bytes, size, offset));
}
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    REAL(pwrite64);
    CALL("write", ssize_t, real(fd, bytes, size, offset));
}
int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    CALL("truncate", int, real(fd, size));
}
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    CALL("truncate", int, real(fd, size));
}

#define SYNC(name)                                      \
    int name(int fd) {                                  \
        REAL(name);                                     \
        char path[PATH_MAX];                            \
        long n = enter("sync", fd, path);               \
        if (n < 0) return -1;                           \
        int result = real(fd);                          \
        if (result == 0 && ours(fd, path)) keep(path);  \
        leave(n, "sync", path);                         \
        return result;                                  \
    }
SYNC(fsync)
SYNC(fdatasync)
