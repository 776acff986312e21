/* Lets a process die at a chosen effect on the world outside, without a switch in its code.
 *
 * Preloaded into an unmodified `floodmark`, it counts what leaves the process: files created, written,
 * synced, linked, renamed and removed under DEATH_ROOT, requests to Kafka that change something, and
 * HTTP requests that do. At effect number DEATH_AT the process gets SIGKILL: before the effect, or with
 * DEATH_AFTER=1 right after it, so that a server does the work and nobody hears the answer. With
 * DEATH_SIGNAL another signal than 9: SIGSTOP makes a zombie that goes on with this very effect. With
 * DEATH_ONLY only effects whose line contains that text count. DEATH_LOG receives one line an effect:
 *
 *     12 fsync /…/manifest/.00000000000000000002.json.5d0c1f2e.staged
 *     13 kafka EndTxn
 *     14 http PUT /bucket/…/state/00000000000000000002-1-windows-curated.arrow
 *
 * Reads, and requests that only ask, are not counted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LINE_BYTES (PATH_MAX + 128)
#define REAL(name) ((__typeof__(&name))real_of(#name))

static atomic_long count;
static long death_at;
static int death_after, death_signal = SIGKILL;
static const char *only, *root;
static int log_fd = -1;

static void *real_of(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

__attribute__((constructor)) static void set_up(void) {
    const char *at = getenv("DEATH_AT"), *after = getenv("DEATH_AFTER"), *log = getenv("DEATH_LOG");
    death_at = at ? atol(at) : 0;
    death_after = after && *after == '1';
    const char *number = getenv("DEATH_SIGNAL");
    if (number && *number) death_signal = atoi(number);
    only = getenv("DEATH_ONLY");
    root = getenv("DEATH_ROOT");
    if (log) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* Returns whether the process has to die when the effect is done. */
static int effect(const char *kind, const char *detail) {
    char line[LINE_BYTES];
    int length = snprintf(line, sizeof line, "%s %s\n", kind, detail);
    if (only && *only && !strstr(line, only)) return 0;
    long number = atomic_fetch_add(&count, 1) + 1;
    length = snprintf(line, sizeof line, "%ld %s %s\n", number, kind, detail);
    if (length >= (int)sizeof line) length = sizeof line - 1;
    /* One write to a file opened for appending: lines of threads do not mix. */
    if (log_fd >= 0 && REAL(write)(log_fd, line, length) != length) abort();
    if (number != death_at) return 0;
    if (!death_after) kill(getpid(), death_signal);
    return death_after;
}

static void die_if(int due) {
    if (due) kill(getpid(), death_signal);
}

static int below_root(const char *path) {
    return root && *root && path && strncmp(path, root, strlen(root)) == 0;
}

static int on_path(const char *kind, const char *path) {
    return below_root(path) ? effect(kind, path) : 0;
}

static int on_file(const char *kind, int fd) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return on_path(kind, path);
}

/* Requests of Kafka's protocol that change something, by their key. */
static const char *kafka_request(int key) {
    switch (key) {
    case 0: return "Produce";
    case 8: return "OffsetCommit";
    case 22: return "InitProducerId";
    case 24: return "AddPartitionsToTxn";
    case 25: return "AddOffsetsToTxn";
    case 26: return "EndTxn";
    case 28: return "TxnOffsetCommit";
    default: return NULL;
    }
}

#define LAST_KAFKA_KEY 92

/* A request that begins here: its length in front, or a method. Anything else on a socket goes on with
 * what a request before it began, such as the body of an upload. */
static int on_socket(const struct iovec *parts, int n) {
    unsigned char head[256];
    size_t held = 0, total = 0;
    for (int i = 0; i < n; i++) {
        size_t take = parts[i].iov_len;
        total += take;
        if (take > sizeof head - 1 - held) take = sizeof head - 1 - held;
        memcpy(head + held, parts[i].iov_base, take);
        held += take;
    }
    head[held] = 0;
    if (held < 8) return 0;
    size_t announced = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    int key = head[4] << 8 | head[5];
    if (announced + 4 == total && key <= LAST_KAFKA_KEY) {
        const char *name = kafka_request(key);
        return name ? effect("kafka", name) : 0;
    }
    char *text = (char *)head;
    if (!strncmp(text, "GET ", 4) || !strncmp(text, "HEAD ", 5)) return 0;
    if (!strncmp(text, "PUT ", 4) || !strncmp(text, "POST ", 5) || !strncmp(text, "DELETE ", 7)) {
        text[strcspn(text, "\r\n")] = 0;
        char *version = strstr(text, " HTTP/");
        if (version) *version = 0;
        return effect("http", text);
    }
    return effect("socket", "goes on");
}

static int on_descriptor(const char *kind, int fd, const struct iovec *parts, int n) {
    struct stat about;
    if (fd == log_fd || fstat(fd, &about)) return 0;
    if (S_ISSOCK(about.st_mode)) return on_socket(parts, n);
    return S_ISREG(about.st_mode) ? on_file(kind, fd) : 0;
}

#define PASS(type, name, declared, given, due) \
    type name declared {                       \
        int last = (due);                      \
        type result = REAL(name) given;        \
        die_if(last);                          \
        return result;                         \
    }

PASS(ssize_t, write, (int fd, const void *bytes, size_t size), (fd, bytes, size),
     on_descriptor("write", fd, &(struct iovec){(void *)bytes, size}, 1))
PASS(ssize_t, pwrite64, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at),
     on_descriptor("write", fd, &(struct iovec){(void *)bytes, size}, 1))
PASS(ssize_t, writev, (int fd, const struct iovec *parts, int n), (fd, parts, n),
     on_descriptor("write", fd, parts, n))
PASS(ssize_t, send, (int fd, const void *bytes, size_t size, int flags), (fd, bytes, size, flags),
     on_descriptor("send", fd, &(struct iovec){(void *)bytes, size}, 1))
PASS(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),
     on_descriptor("send", fd, message->msg_iov, (int)message->msg_iovlen))
PASS(int, fsync, (int fd), (fd), on_file("fsync", fd))
PASS(int, fdatasync, (int fd), (fd), on_file("fsync", fd))
PASS(int, ftruncate64, (int fd, off64_t size), (fd, size), on_file("truncate", fd))
PASS(int, link, (const char *from, const char *to), (from, to), on_path("link", to))
PASS(int, linkat, (int d, const char *from, int e, const char *to, int flags), (d, from, e, to, flags),
     on_path("link", to))
PASS(int, rename, (const char *from, const char *to), (from, to), on_path("rename", to))
PASS(int, unlink, (const char *path), (path), on_path("unlink", path))
PASS(int, mkdir, (const char *path, mode_t mode), (path, mode), on_path("mkdir", path))
PASS(int, rmdir, (const char *path), (path), on_path("rmdir", path))

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int last = flags & O_CREAT ? on_path("create", path) : 0;
    int result = REAL(open64)(path, flags, mode);
    die_if(last);
    return result;
}
