/* A library to be preloaded into a node by specs: makes its disk or its resolver fail, or cuts
 * what it sends.
 *
 * $USHER_FAULTS names a file; each line of it is one fault, in force while it stands there:
 *
 *     OP ERRNO PART      OP: write, sync, allocate or read; ERRNO: EIO or ENOSPC;
 *                        PART: in the path of the file ("log-", "vote", "snapshot", "/")
 *     space BYTES PART   what statvfs() says is free
 *     link EPERM PART    this file can have no second name
 *     resolve NONE NAME  no resolver knows this host
 *     send DROP :PORT:   what it writes to connections that it made to this port is lost
 *                        without a word; what comes from there still arrives
 *
 * An absent or empty file: everything is as without the library. The file is read at each
 * call, with plain system calls, so a spec switches faults on and off while the node runs. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Declared by no header in this form: the C library has them under both names. */
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at);
ssize_t pread64(int fd, void *data, size_t len, off_t at);
int posix_fallocate64(int fd, off_t at, off_t len);
int statvfs64(const char *path, struct statvfs64 *out);

static void *next_of(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (f == NULL) {
        abort();
    }
    return f;
}

/* Calls the function of the C library; POSIX allows this cast, ISO C does not. */
#define NEXT(type, name)                                                                           \
    type f;                                                                                        \
    *(void **)(void *)&f = next_of(name)

static void read_faults(char *out, size_t cap)
{
    const char *path = getenv("USHER_FAULTS");
    out[0] = 0;
    long fd = path == NULL ? -1 : syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    long n = syscall(SYS_read, (int)fd, out, cap - 1);
    out[n > 0 ? n : 0] = 0;
    (void)syscall(SYS_close, (int)fd);
}

/* The value of the first line for this operation whose PART is in the path; "" when none. */
static void find(const char *op, const char *path, char *value, size_t cap)
{
    char text[2048], *save = NULL;
    read_faults(text, sizeof text);
    value[0] = 0;
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char what[32], how[32], part[256];
        if (sscanf(line, "%31s %31s %255s", what, how, part) == 3 && strcmp(what, op) == 0 &&
            strstr(path, part) != NULL) {
            (void)snprintf(value, cap, "%s", how);
            return;
        }
    }
}

/* The errno of a fault on this descriptor, or 0. */
static int fault(const char *op, int fd)
{
    char link[64], path[4096], value[32];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0 || path[0] != '/') {
        return 0; /* a socket, a pipe */
    }
    path[n] = 0;
    find(op, path, value, sizeof value);
    return value[0] == 0 ? 0 : strcmp(value, "ENOSPC") == 0 ? ENOSPC : EIO;
}

#define FAIL_WITH(op, fd)                                                                          \
    do {                                                                                           \
        int err = fault(op, fd);                                                                   \
        if (err != 0) {                                                                            \
            errno = err;                                                                           \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef ssize_t (*pread_fn)(int, void *, size_t, off_t);
typedef int (*sync_fn)(int);
typedef int (*allocate_fn)(int, off_t, off_t);

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    FAIL_WITH("write", fd);
    NEXT(pwrite_fn, "pwrite");
    return f(fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    FAIL_WITH("write", fd);
    NEXT(pwrite_fn, "pwrite64");
    return f(fd, data, len, at);
}

ssize_t pread(int fd, void *data, size_t len, off_t at)
{
    FAIL_WITH("read", fd);
    NEXT(pread_fn, "pread");
    return f(fd, data, len, at);
}

ssize_t pread64(int fd, void *data, size_t len, off_t at)
{
    FAIL_WITH("read", fd);
    NEXT(pread_fn, "pread64");
    return f(fd, data, len, at);
}

/* Whether what goes out here is to be lost. Nodes send over connections that they made
 * themselves, so the other end's port says to whom. */
static bool is_cut(int fd)
{
    struct sockaddr_storage to = { 0 };
    socklen_t len = sizeof to;
    char port[16], value[32];
    if (getpeername(fd, (struct sockaddr *)&to, &len) != 0 ||
        (to.ss_family != AF_INET && to.ss_family != AF_INET6)) {
        return false;
    }
    in_port_t number = to.ss_family == AF_INET ? ((struct sockaddr_in *)&to)->sin_port
                                               : ((struct sockaddr_in6 *)&to)->sin6_port;
    (void)snprintf(port, sizeof port, ":%u:", ntohs(number));
    find("send", port, value, sizeof value);
    return strcmp(value, "DROP") == 0;
}

ssize_t write(int fd, const void *data, size_t len)
{
    typedef ssize_t (*write_fn)(int, const void *, size_t);
    NEXT(write_fn, "write");
    return is_cut(fd) ? (ssize_t)len : f(fd, data, len);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    typedef ssize_t (*writev_fn)(int, const struct iovec *, int);
    NEXT(writev_fn, "writev");
    ssize_t len = 0;
    for (int i = 0; i < count; i++) {
        len += (ssize_t)iov[i].iov_len;
    }
    return is_cut(fd) ? len : f(fd, iov, count);
}

int link(const char *from, const char *to)
{
    typedef int (*link_fn)(const char *, const char *);
    NEXT(link_fn, "link");
    char value[32];
    find("link", to, value, sizeof value);
    if (value[0] != 0) {
        errno = EPERM; /* as file systems without hard links say it */
        return -1;
    }
    return f(from, to);
}

int fdatasync(int fd)
{
    FAIL_WITH("sync", fd);
    NEXT(sync_fn, "fdatasync");
    return f(fd);
}

int fsync(int fd)
{
    FAIL_WITH("sync", fd);
    NEXT(sync_fn, "fsync");
    return f(fd);
}

/* A write and its sync in one: it has been done, and is said to have failed. */
int io_getevents(io_context_t ctx, long min, long max, struct io_event *events,
                 struct timespec *timeout)
{
    typedef int (*getevents_fn)(io_context_t, long, long, struct io_event *, struct timespec *);
    NEXT(getevents_fn, "io_getevents");
    int n = f(ctx, min, max, events, timeout);
    for (int i = 0; i < n; i++) {
        int fd = events[i].obj->aio_fildes, err = fault("write", fd);
        if (err == 0 && (events[i].obj->aio_rw_flags & RWF_DSYNC) != 0) {
            err = fault("sync", fd);
        }
        if (err != 0) {
            events[i].res = (unsigned long)-(long)err;
        }
    }
    return n;
}

int posix_fallocate(int fd, off_t at, off_t len)
{
    int err = fault("allocate", fd);
    NEXT(allocate_fn, "posix_fallocate");
    return err != 0 ? err : f(fd, at, len);
}

int posix_fallocate64(int fd, off_t at, off_t len)
{
    int err = fault("allocate", fd);
    NEXT(allocate_fn, "posix_fallocate64");
    return err != 0 ? err : f(fd, at, len);
}

int statvfs(const char *path, struct statvfs *out)
{
    typedef int (*statvfs_fn)(const char *, struct statvfs *);
    char value[32];
    NEXT(statvfs_fn, "statvfs");
    int rc = f(path, out);
    find("space", path, value, sizeof value);
    if (rc == 0 && value[0] != 0) {
        out->f_bavail = strtoul(value, NULL, 10) / out->f_frsize;
    }
    return rc;
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **list)
{
    typedef int (*getaddrinfo_fn)(const char *, const char *, const struct addrinfo *,
                                  struct addrinfo **);
    char value[32];
    NEXT(getaddrinfo_fn, "getaddrinfo");
    find("resolve", host != NULL ? host : "", value, sizeof value);
    return value[0] != 0 ? EAI_NONAME : f(host, port, hints, list);
}
