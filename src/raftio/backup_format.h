/* Backup files: one snapshot of the state, made to leave the machine.
 *
 * The bytes are in docs/formats.md: a header with checksum (which cluster, node, entry,
 * time, digest), the store's snapshot in blocks as in snapshot files, a trailer. A node
 * writes them as a stream (usher backup FILE takes it over the connection), restore reads
 * them from a file; every block is verified before any of it is handed out. */
#ifndef USHER_RAFTIO_BACKUP_FORMAT_H
#define USHER_RAFTIO_BACKUP_FORMAT_H

#include "base/env.h"

struct snapshot_trailer; /* journal_format.h */

#define BACKUP_VERSION      1
#define BACKUP_HEADER_BYTES 512

struct backup_head {
    uint64_t cluster_id, node_id; /* where it was taken */
    uint64_t index, term;         /* of the last entry it contains */
    uint64_t time_ms, digest;     /* of the state */
    uint64_t taken_ms;            /* wall clock of the node */
    uint32_t feature_level;       /* a program of a lower one cannot restore it */
    uint32_t version;             /* of the program that wrote it */
    char address[256];            /* of the node */
};

void backup_head_encode(uint8_t out[BACKUP_HEADER_BYTES], const struct backup_head *h);

/* Appends the payload as blocks; counts them in t. */
void backup_put_blocks(struct buf *out, const struct backup_head *h, struct snapshot_trailer *t,
                       const void *data, size_t len);
void backup_put_trailer(struct buf *out, const struct backup_head *h,
                        const struct snapshot_trailer *t);

/* Reading a backup file: blocking. Every error names the file and the offset. */
struct backup_reader;
int backup_open(struct env *env, const char *path, struct backup_reader **out,
                struct backup_head *head, struct error *e);
/* The payload in pieces; got 0: the end, and the file was whole. */
int backup_read(struct backup_reader *r, void *out, size_t len, size_t *got, struct error *e);
void backup_close(struct backup_reader *r); /* NULL is allowed */

#endif
