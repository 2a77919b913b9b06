/* The bytes of every journal file (docs/formats.md says the same in prose).
 *
 * All integers are little-endian. Every piece that is written alone carries an XXH3-64
 * checksum; a record's is seeded with the node's id and the record's own position, so
 * bytes that belong elsewhere (another node, another segment, another offset, a copy
 * inside a payload) never pass for a record. */
#ifndef USHER_RAFTIO_JOURNAL_FORMAT_H
#define USHER_RAFTIO_JOURNAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "raftio/journal.h"

#define JOURNAL_VERSION        1
#define SEGMENT_HEADER_BYTES   64
#define RECORD_HEADER_BYTES    40
#define SLOT_BYTES             64
#define MARK_SLOT_STRIDE       512 /* the mark's two slots live in different sectors */
#define IDENTITY_BYTES         512
#define SNAPSHOT_HEADER_BYTES  64
#define SNAPSHOT_BLOCK_HEADER  16
#define SNAPSHOT_TRAILER_BYTES 32
/* A writer splits larger chunks, so that a reader needs one bounded buffer. */
#define SNAPSHOT_BLOCK_MAX     ((size_t)1024 * 1024)
/* A raft configuration of 64 members is 20 KiB. */
#define SNAPSHOT_META_MAX      ((size_t)1024 * 1024)

/* A place in the log, comparable with <: segment number, then offset in it. Positions
 * only grow: truncation is a record, and no place ever holds another one. */
static inline uint64_t position_make(uint64_t segment, uint64_t offset)
{
    return segment << 32 | offset;
}
static inline uint64_t position_segment(uint64_t position) { return position >> 32; }
static inline uint64_t position_offset(uint64_t position) { return position & 0xffffffffu; }

enum format_status {
    FORMAT_OK,
    FORMAT_BLANK,   /* only zeros: never written */
    FORMAT_BAD,     /* incomplete or damaged */
    FORMAT_FOREIGN, /* whole, but another node's */
    FORMAT_VERSION, /* of a version this program does not know */
};

bool bytes_are_zero(const uint8_t *p, size_t len);

/* ---- Segments ----------------------------------------------------------- */

struct segment_header {
    uint64_t number;
    uint64_t first_index; /* the log's next index when the segment was begun */
};
void segment_header_encode(uint8_t out[SEGMENT_HEADER_BYTES], uint64_t node_id,
                           const struct segment_header *h);
enum format_status segment_header_decode(const uint8_t *p, size_t len, uint64_t node_id,
                                         struct segment_header *out);

enum record_kind {
    RECORD_ENTRY = 1,    /* entry `index` of `term` */
    RECORD_TRUNCATE = 2, /* entries >= index are void */
    RECORD_RESTART = 3,  /* all entries are void; the next is index + 1 */
    RECORD_SEAL = 4,     /* last record of a segment; the log goes on in the next */
};

struct record {
    uint8_t kind, type;
    uint64_t term, index;
    uint64_t durable; /* everything before this position was synced before this was written */
    const uint8_t *data;
    size_t len;
};

/* Bytes of a record with len payload bytes: a multiple of 8. */
static inline size_t record_bytes(size_t len)
{
    return RECORD_HEADER_BYTES + ((len + 7) & ~(size_t)7);
}
void record_encode(struct buf *out, uint64_t node_id, uint64_t position, const struct record *r);
/* out->data points into p. *size is the whole record's when FORMAT_OK. */
enum format_status record_decode(const uint8_t *p, size_t len, uint64_t node_id, uint64_t position,
                                 struct record *out, size_t *size);

/* ---- Vote and mark: one slot each --------------------------------------- */

enum slot_kind { SLOT_VOTE, SLOT_MARK };

struct slot {
    uint64_t sequence; /* the newest wins */
    uint64_t a, b;     /* vote: term and vote; mark: position and 0 */
};
void slot_encode(uint8_t out[SLOT_BYTES], enum slot_kind kind, uint64_t node_id,
                 const struct slot *s);
enum format_status slot_decode(const uint8_t *p, size_t len, enum slot_kind kind, uint64_t node_id,
                               struct slot *out);

/* ---- Identity ----------------------------------------------------------- */

void identity_encode(uint8_t out[IDENTITY_BYTES], const struct journal_identity *id);
enum format_status identity_decode(const uint8_t *p, size_t len, struct journal_identity *out);

/* ---- Snapshots ------------------------------------------------------------------
 *
 * header, meta, blocks, trailer. Each block has its own checksum, seeded with its place,
 * so a reader never hands out bytes that it has not verified; the trailer makes a cut
 * or lengthened file visible. */

struct snapshot_header {
    uint64_t index, term;
    uint32_t meta_len;
};
void snapshot_header_encode(struct buf *out, const struct snapshot_header *h, const void *meta);
/* p holds the header; meta follows it and is checked by snapshot_meta_ok. */
enum format_status snapshot_header_decode(const uint8_t *p, size_t len,
                                          struct snapshot_header *out);
bool snapshot_meta_ok(const uint8_t header[SNAPSHOT_HEADER_BYTES], const uint8_t *meta, size_t len);

void snapshot_block_encode(uint8_t out[SNAPSHOT_BLOCK_HEADER], const struct snapshot_header *h,
                           uint64_t number, const void *data, size_t len);
/* The payload length that a block's header states; 0 when it is not a block. */
size_t snapshot_block_len(const uint8_t p[SNAPSHOT_BLOCK_HEADER]);
bool snapshot_block_ok(const uint8_t p[SNAPSHOT_BLOCK_HEADER], const struct snapshot_header *h,
                       uint64_t number, const void *data, size_t len);

struct snapshot_trailer {
    uint64_t bytes, blocks;
};
void snapshot_trailer_encode(uint8_t out[SNAPSHOT_TRAILER_BYTES], const struct snapshot_header *h,
                             const struct snapshot_trailer *t);
enum format_status snapshot_trailer_decode(const uint8_t *p, size_t len,
                                           const struct snapshot_header *h,
                                           struct snapshot_trailer *out);

#endif
