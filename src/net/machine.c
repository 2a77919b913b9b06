/* See machine.h. The descriptors in use are estimated from the lowest free one: exact as long
 * as none was closed in between, and it costs two system calls. */
#include "net/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"

#define READ_BYTES (1024 * 1024)

void machine_init(struct machine *m, uint64_t profile_hash)
{
    FILE *in = fopen("/proc/self/exe", "re");
    char *bytes = mem_alloc(READ_BYTES);
    size_t n = 0;
    m->profile_hash = profile_hash;
    m->build_hash = 0;
    while (in != NULL && bytes != NULL && (n = fread(bytes, 1, READ_BYTES, in)) > 0) {
        m->build_hash = hash_mix(m->build_hash, hash64(bytes, n));
    }
    if (in != NULL) {
        (void)fclose(in);
    }
    mem_free(bytes);
}

void machine_vitals(const struct machine *m, struct cluster_vitals *v)
{
    struct rlimit limit;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    v->profile_hash = m->profile_hash;
    v->build_hash = m->build_hash;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        v->files_max = limit.rlim_cur;
    }
    v->files = fd >= 0 ? (uint64_t)fd : v->files_max; /* none is free */
    if (fd >= 0) {
        (void)close(fd);
    }
}
