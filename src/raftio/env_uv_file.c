/* Files of the libuv env: plain blocking POSIX calls, made on workers.
 *
 * Every failure names the operation, the path and the system's text. ENOSPC and EDQUOT
 * are ERR_NOSPACE, so that a full disk is told apart from a broken one, and EMFILE and ENFILE
 * are ERR_BUSY and EACCES and EPERM ERR_NOPERM: nothing is wrong with the disk. A call that a
 * signal interrupts is made again; nothing else is.
 *
 * A file opened with ENV_DIRECT has a second descriptor, past the page cache, for
 * env_uv_write.c; where the file system has no such thing (-1) it is like any other.
 *
 * Invariants
 *   1 file_write returns 0 only when every byte was taken by the kernel
 *   2 a failed sync is reported as it is: the kernel may have dropped the pages, and
 *     only the caller can decide what that means (the journal stops) */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "raftio/env_uv_impl.h"

/* One write of this size at a time while zeroing: large enough for the disk's full
 * speed, small enough to keep the page cache and other writers calm. */
#define ZERO_BYTES ((size_t)1024 * 1024)

int env_uv_sys_error(struct error *e, const char *what, const char *path, int err)
{
    int code = ERR_IO;
    switch (err) {
    case ENOSPC:
    case EDQUOT: code = ERR_NOSPACE; break;
    case EMFILE:
    case ENFILE: code = ERR_BUSY; break;
    case EACCES:
    case EPERM: code = ERR_NOPERM; break;
    case ENOENT:
    case ENOTDIR: code = ERR_NOTFOUND; break;
    case EEXIST: code = ERR_CONFLICT; break;
    case ENOMEM: code = ERR_NOMEM; break;
    default: break;
    }
    char text[128];
    return error_set(e, code, "cannot %s %s: %s", what, path, strerror_r(err, text, sizeof text));
}

static int open_retry(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

int env_uv_file_open(struct env *env, const char *path, int flags, struct env_file **out,
                     struct error *e)
{
    (void)env;
    int mode = (flags & ENV_WRITE) == 0 ? O_RDONLY : (flags & ENV_READ) != 0 ? O_RDWR : O_WRONLY;
    mode |= (flags & ENV_CREATE) != 0 ? O_CREAT : 0;
    mode |= (flags & ENV_EXCLUSIVE) != 0 ? O_EXCL : 0;
    mode |= (flags & ENV_TRUNCATE) != 0 ? O_TRUNC : 0;
    size_t len = strlen(path) + 1;
    struct env_file *f = mem_alloc(sizeof *f + len);
    if (f == NULL) {
        return error_set(e, ERR_NOMEM, "cannot open %s: out of memory", path);
    }
    memcpy(f->path, path, len);
    f->direct_fd = -1;
    atomic_init(&f->direct_cannot, false);
    f->direct_later = 0;
    f->fd = open_retry(path, mode);
    if (f->fd < 0) {
        int err = errno;
        mem_free(f);
        return env_uv_sys_error(e, (flags & ENV_CREATE) != 0 ? "create" : "open", path, err);
    }
    if ((flags & ENV_DIRECT) != 0) {
        f->direct_fd = open_retry(path, O_WRONLY | O_DIRECT);
    }
    *out = f;
    return 0;
}

void env_uv_file_close(struct env_file *f)
{
    if (f != NULL) {
        /* What matters was synced; on Linux the descriptor is gone even on EINTR. */
        (void)close(f->fd);
        if (f->direct_fd >= 0) {
            (void)close(f->direct_fd);
        }
        mem_free(f);
    }
}

int env_uv_file_read(struct env_file *f, uint64_t at, void *out, size_t len, size_t *got,
                     struct error *e)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(f->fd, (char *)out + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            int err = errno;
            char what[64];
            (void)snprintf(what, sizeof what, "read at offset %" PRIu64 " of", at + done);
            return env_uv_sys_error(e, what, f->path, err);
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    *got = done;
    return 0;
}

int env_uv_file_write(struct env_file *f, uint64_t at, const void *data, size_t len,
                      struct error *e)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pwrite(f->fd, (const char *)data + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return env_uv_sys_error(e, "write", f->path, n == 0 ? EIO : errno);
        }
        done += (size_t)n;
    }
    return 0;
}

int env_uv_file_sync(struct env_file *f, struct error *e)
{
    int rc;
    do {
        rc = fdatasync(f->fd);
    } while (rc < 0 && errno == EINTR);
    if (rc != 0) {
        return env_uv_sys_error(e, "sync", f->path, errno);
    }
    if (f->direct_fd >= 0 && !atomic_load_explicit(&f->direct_cannot, memory_order_relaxed)) {
        /* A page in the cache would stand in the way of each later direct write to it. */
        (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    return 0;
}

int env_uv_file_size(struct env_file *f, uint64_t *bytes, struct error *e)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0) {
        return env_uv_sys_error(e, "read the size of", f->path, errno);
    }
    *bytes = (uint64_t)st.st_size;
    return 0;
}

int env_uv_file_truncate(struct env_file *f, uint64_t bytes, struct error *e)
{
    int rc;
    do {
        rc = ftruncate(f->fd, (off_t)bytes);
    } while (rc < 0 && errno == EINTR);
    return rc == 0 ? 0 : env_uv_sys_error(e, "truncate", f->path, errno);
}

int env_uv_file_allocate(struct env_file *f, uint64_t bytes, struct error *e)
{
    /* Reserve first: a disk that cannot hold the file says so before any is written. File
     * systems without reservation are not wrong, only later with the bad news. */
    int err;
    do {
        err = posix_fallocate(f->fd, 0, (off_t)bytes);
    } while (err == EINTR);
    if (err != 0 && err != EOPNOTSUPP && err != EINVAL) {
        return env_uv_sys_error(e, "reserve space for", f->path, err);
    }
    char *zeros = mem_zalloc(ZERO_BYTES);
    if (zeros == NULL) {
        return error_set(e, ERR_NOMEM, "cannot reserve space for %s: out of memory", f->path);
    }
    int rc = 0;
    for (uint64_t at = 0; at < bytes && rc == 0; at += ZERO_BYTES) {
        size_t len = bytes - at < ZERO_BYTES ? (size_t)(bytes - at) : ZERO_BYTES;
        rc = env_uv_file_write(f, at, zeros, len, e);
        /* Push it out now, a piece at a time: a heap of dirty pages would make the log's
         * own sync wait behind it. Only a hint: the caller's sync is what counts. */
        (void)sync_file_range(f->fd, (off_t)at, (off_t)len,
                              SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    }
    mem_free(zeros);
    return rc;
}

int env_uv_file_lock(struct env_file *f, struct error *e)
{
    int rc;
    do {
        rc = flock(f->fd, LOCK_EX | LOCK_NB);
    } while (rc < 0 && errno == EINTR);
    if (rc == 0) {
        return 0;
    }
    if (errno == EWOULDBLOCK) {
        return error_set(e, ERR_CONFLICT, "%s is locked by another process", f->path);
    }
    return env_uv_sys_error(e, "lock", f->path, errno);
}

int env_uv_rename(struct env *env, const char *from, const char *to, struct error *e)
{
    (void)env;
    return rename(from, to) == 0 ? 0 : env_uv_sys_error(e, "rename to", to, errno);
}

int env_uv_remove(struct env *env, const char *path, struct error *e)
{
    (void)env;
    return remove(path) == 0 ? 0 : env_uv_sys_error(e, "remove", path, errno);
}

int env_uv_sync_dir(struct env *env, const char *path, struct error *e)
{
    (void)env;
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return env_uv_sys_error(e, "open directory", path, errno);
    }
    int rc;
    do {
        rc = fsync(fd);
    } while (rc < 0 && errno == EINTR);
    int err = errno;
    (void)close(fd);
    return rc == 0 ? 0 : env_uv_sys_error(e, "sync directory", path, err);
}

/* Makes path[0..len) and syncs its parent, so that the new name survives. */
static int make_one(struct env *env, char *path, size_t len, struct error *e)
{
    char saved = path[len];
    path[len] = 0;
    int rc = 0;
    if (mkdir(path, 0700) == 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL) {
            rc = env_uv_sync_dir(env, ".", e);
        } else if (slash == path) {
            rc = env_uv_sync_dir(env, "/", e);
        } else {
            *slash = 0;
            rc = env_uv_sync_dir(env, path, e);
            *slash = '/';
        }
    } else {
        int err = errno;
        struct stat st;
        if (stat(path, &st) != 0) {
            rc = env_uv_sys_error(e, "make directory", path, err);
        } else if (!S_ISDIR(st.st_mode)) {
            rc = error_set(e, ERR_CONFLICT, "%s is a file, not a directory", path);
        }
    }
    path[len] = saved;
    return rc;
}

int env_uv_make_dir(struct env *env, const char *path, struct error *e)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    char *copy = mem_strndup(path, len);
    if (copy == NULL) {
        return error_set(e, ERR_NOMEM, "cannot make directory %s: out of memory", path);
    }
    int rc = 0;
    for (size_t i = 1; i <= len && rc == 0; i++) {
        if (i == len || (copy[i] == '/' && copy[i - 1] != '/')) {
            rc = make_one(env, copy, i, e);
        }
    }
    mem_free(copy);
    return rc;
}

int env_uv_list_dir(struct env *env, const char *path, env_names_cb cb, void *arg, struct error *e)
{
    (void)env;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return env_uv_sys_error(e, "open directory", path, errno);
    }
    int err;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            err = errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            cb(arg, entry->d_name);
        }
    }
    (void)closedir(dir);
    return err == 0 ? 0 : env_uv_sys_error(e, "list directory", path, err);
}

int env_uv_free_bytes(struct env *env, const char *path, uint64_t *bytes, struct error *e)
{
    (void)env;
    struct statvfs st;
    int rc;
    do {
        rc = statvfs(path, &st);
    } while (rc < 0 && errno == EINTR);
    if (rc != 0) {
        return env_uv_sys_error(e, "read the free space of", path, errno);
    }
    *bytes = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize;
    return 0;
}
