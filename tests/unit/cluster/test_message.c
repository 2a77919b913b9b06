/* The codec of raft messages: every type makes the round trip, and nothing that libraft
 * would stumble over gets through. Memory is checked by the sanitizer build. */
#include "cluster/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static struct buf encoded(const struct raft_message *m)
{
    struct buf b = BUF_INIT;
    assert_int_equal(message_encode(m, &b), 0);
    return b;
}

static struct raft_message round_trip(const struct raft_message *m)
{
    struct buf b = encoded(m);
    struct raft_message out;
    struct error e = { 0 };
    if (message_decode(b.data, b.len, &out, &e) != 0) {
        fail_msg("%s", e.message);
    }
    assert_int_equal(out.type, m->type);
    /* The encoding is exact: one byte less or more is no message. */
    struct raft_message other;
    for (size_t len = 0; len < b.len; len += len < 200 ? 1 : 997) {
        assert_int_equal(message_decode(b.data, len, &other, &e), ERR_CORRUPT);
    }
    buf_put_u8(&b, 0);
    assert_int_equal(message_decode(b.data, b.len, &other, &e), ERR_CORRUPT);
    buf_free(&b);
    return out;
}

static void refused(const struct raft_message *m)
{
    struct buf b = encoded(m);
    struct raft_message out;
    struct error e = { 0 };
    assert_int_equal(message_decode(b.data, b.len, &out, &e), ERR_CORRUPT);
    assert_true(e.message[0] != 0);
    buf_free(&b);
}

static struct raft_message vote_request(void)
{
    struct raft_message m = { .type = RAFT_REQUEST_VOTE };
    m.request_vote = (struct raft_request_vote){ .term = 7,
                                                 .candidate_id = UINT64_MAX,
                                                 .last_log_index = 40,
                                                 .last_log_term = 6,
                                                 .pre_vote = true };
    return m;
}

/* The small messages come back field by field, with the versions the library expects. */
static void small_messages(void **state)
{
    (void)state;
    struct raft_message m = vote_request(), out = round_trip(&m);
    assert_int_equal(out.request_vote.version, 2);
    assert_true(out.request_vote.candidate_id == UINT64_MAX);
    assert_int_equal(out.request_vote.last_log_index, 40);
    assert_int_equal(out.request_vote.last_log_term, 6);
    assert_true(out.request_vote.pre_vote && !out.request_vote.disrupt_leader);

    m = (struct raft_message){ .type = RAFT_REQUEST_VOTE_RESULT };
    m.request_vote_result = (struct raft_request_vote_result){
        .term = 9, .vote_granted = true, .features = 1, .capacity = 65535
    };
    out = round_trip(&m);
    assert_int_equal(out.request_vote_result.version, 2);
    assert_int_equal(out.request_vote_result.term, 9);
    assert_true(out.request_vote_result.vote_granted && !out.request_vote_result.pre_vote);
    assert_int_equal(out.request_vote_result.features, 1);
    assert_int_equal(out.request_vote_result.capacity, 65535);

    m = (struct raft_message){ .type = RAFT_APPEND_ENTRIES_RESULT };
    m.append_entries_result = (struct raft_append_entries_result){
        .term = 9, .rejected = 12, .last_log_index = 11, .features = 1, .capacity = 3
    };
    out = round_trip(&m);
    assert_int_equal(out.append_entries_result.version, 2);
    assert_int_equal(out.append_entries_result.rejected, 12);
    assert_int_equal(out.append_entries_result.last_log_index, 11);
    assert_int_equal(out.append_entries_result.capacity, 3);

    m = (struct raft_message){ .type = RAFT_TIMEOUT_NOW };
    m.timeout_now = (struct raft_timeout_now){ .term = 3, .last_log_index = 5, .last_log_term = 3 };
    out = round_trip(&m);
    assert_int_equal(out.timeout_now.last_log_index, 5);
    assert_int_equal(out.timeout_now.last_log_term, 3);
}

/* Terms of 0 or near 2^64 and indices that could wrap never reach the library. */
static void impossible_numbers(void **state)
{
    (void)state;
    static const uint64_t terms[] = { 0, MESSAGE_TERM_MAX + 1, UINT64_MAX - 1, UINT64_MAX };
    for (size_t i = 0; i < 4; i++) {
        struct raft_message m = vote_request();
        m.request_vote.term = terms[i];
        refused(&m);
        m = (struct raft_message){ .type = RAFT_REQUEST_VOTE_RESULT };
        m.request_vote_result.term = terms[i];
        refused(&m);
        m = (struct raft_message){ .type = RAFT_APPEND_ENTRIES_RESULT };
        m.append_entries_result.term = terms[i];
        refused(&m);
        m = (struct raft_message){ .type = RAFT_TIMEOUT_NOW };
        m.timeout_now.term = terms[i];
        refused(&m);
        m = (struct raft_message){ .type = RAFT_APPEND_ENTRIES };
        m.append_entries.term = terms[i];
        refused(&m);
    }
    struct raft_message m = vote_request();
    m.request_vote.term = MESSAGE_TERM_MAX;
    struct raft_message out = round_trip(&m);
    assert_true(out.request_vote.term == MESSAGE_TERM_MAX);
    m = vote_request();
    m.request_vote.candidate_id = 0;
    refused(&m);
    m = vote_request();
    m.request_vote.last_log_term = 8; /* newer than the message */
    refused(&m);
    m = vote_request();
    m.request_vote.last_log_index = UINT64_MAX;
    refused(&m);
    m = vote_request();
    m.request_vote.last_log_index = 0; /* with a term */
    refused(&m);
    m = (struct raft_message){ .type = RAFT_APPEND_ENTRIES_RESULT };
    m.append_entries_result.term = 1;
    m.append_entries_result.last_log_index = UINT64_MAX;
    refused(&m);
}

/* Unknown formats, types and flags are refused; an unknown type is not encoded. */
static void unknown_kinds(void **state)
{
    (void)state;
    struct raft_message m = vote_request(), out;
    struct buf b = encoded(&m);
    struct error e = { 0 };
    b.data[0] = 2;
    assert_int_equal(message_decode(b.data, b.len, &out, &e), ERR_CORRUPT);
    b.data[0] = 1;
    for (unsigned type = 0; type < 256; type++) {
        b.data[1] = (uint8_t)type;
        assert_true(type == RAFT_REQUEST_VOTE ||
                    message_decode(b.data, b.len, &out, &e) == ERR_CORRUPT);
    }
    b.data[1] = RAFT_REQUEST_VOTE;
    b.data[b.len - 1] = 4;
    assert_int_equal(message_decode(b.data, b.len, &out, &e), ERR_CORRUPT);
    buf_free(&b);
    m.type = (enum raft_message_type)9;
    assert_int_equal(message_encode(&m, &b), ERR_BADARG);
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

/* ---- Entries -------------------------------------------------------------------------- */

static struct raft_buffer configuration(void)
{
    struct raft_configuration conf;
    struct raft_buffer buf;
    raft_configuration_init(&conf);
    assert_int_equal(raft_configuration_add(&conf, 11, "localhost:6000", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&conf, 12, "[::1]:6001", RAFT_STANDBY), 0);
    assert_int_equal(raft_configuration_encode(&conf, &buf), 0);
    raft_configuration_close(&conf);
    return buf;
}

static struct raft_message append(struct raft_entry *entries, unsigned n)
{
    struct raft_message m = { .type = RAFT_APPEND_ENTRIES };
    m.append_entries = (struct raft_append_entries){ .term = 5,
                                                     .prev_log_index = 100,
                                                     .prev_log_term = 3,
                                                     .leader_commit = 90,
                                                     .entries = entries,
                                                     .n_entries = n };
    return m;
}

static struct raft_entry entry(uint64_t term, int type, const void *data, size_t len)
{
    return (struct raft_entry){
        term, (enum raft_entry_type)type, { (void *)(uintptr_t)data, len }, NULL
    };
}

/* Entries come back in one array and one batch that holds all payloads, also when these
 * are empty; a heartbeat owns nothing. */
static void entries_share_one_batch(void **state)
{
    (void)state;
    struct raft_buffer conf = configuration();
    struct raft_entry in[4] = { entry(3, RAFT_COMMAND, "hello", 5), entry(4, RAFT_BARRIER, "", 0),
                                entry(5, RAFT_CHANGE, conf.base, conf.len),
                                entry(5, RAFT_COMMAND, "x", 1) };
    struct raft_message m = append(in, 4), out = round_trip(&m);
    const struct raft_append_entries *a = &out.append_entries;
    assert_int_equal(a->version, 0);
    assert_int_equal(a->prev_log_index, 100);
    assert_int_equal(a->prev_log_term, 3);
    assert_int_equal(a->leader_commit, 90);
    assert_int_equal(a->n_entries, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(a->entries[i].term, in[i].term);
        assert_int_equal(a->entries[i].type, in[i].type);
        assert_int_equal(a->entries[i].buf.len, in[i].buf.len);
        assert_memory_equal(a->entries[i].buf.base, in[i].buf.base, in[i].buf.len);
        assert_non_null(a->entries[i].batch);
        assert_ptr_equal(a->entries[i].batch, a->entries[0].batch);
    }
    message_release(&out);

    m = append(&in[1], 1); /* only an empty payload: still a batch */
    out = round_trip(&m);
    assert_non_null(out.append_entries.entries[0].batch);
    message_release(&out);

    m = append(NULL, 0);
    out = round_trip(&m);
    assert_null(out.append_entries.entries);
    message_release(&out);
    raft_free(conf.base);
}

/* Entries whose terms run backwards or ahead, of unknown type, or with a broken
 * configuration are refused, and so is a previous entry that cannot exist. */
static void impossible_entries(void **state)
{
    (void)state;
    struct raft_entry in[2] = { entry(4, RAFT_COMMAND, "a", 1), entry(5, RAFT_COMMAND, "b", 1) };
    struct raft_message m = append(in, 2);
    in[0].term = 2; /* older than the previous entry */
    refused(&m);
    in[0].term = 4;
    in[1].term = 6; /* newer than the message */
    refused(&m);
    in[1].term = 5;
    in[0].term = 0;
    refused(&m);
    in[0].term = 5;
    in[1].term = 4; /* decreasing */
    refused(&m);
    in[1].term = 5;
    in[1].type = (enum raft_entry_type)9;
    refused(&m);
    in[1].type = RAFT_CHANGE; /* "b" is no configuration */
    refused(&m);
    in[1].type = RAFT_COMMAND;
    m.append_entries.prev_log_index = 0;
    refused(&m);
    m.append_entries.prev_log_term = 0;
    struct raft_message out = round_trip(&m);
    message_release(&out);
    m.append_entries.prev_log_index = 100; /* exists, but without a term */
    refused(&m);
    m = append(in, 2);
    m.append_entries.prev_log_index = UINT64_MAX - 1;
    refused(&m);
    m = append(in, 2);
    m.append_entries.leader_commit = UINT64_MAX;
    refused(&m);
}

/* Counts and lengths that promise more than there is are refused before memory is taken. */
static void lying_lengths(void **state)
{
    (void)state;
    struct raft_entry in[1] = { entry(4, RAFT_COMMAND, "abc", 3) };
    struct raft_message m = append(in, 1), out;
    struct buf b = encoded(&m);
    struct error e = { 0 };
    static const uint32_t counts[] = { 0, 2, 1024, 1025, UINT32_MAX };
    for (size_t i = 0; i < 5; i++) {
        buf_set_u32(&b, 34, counts[i]);
        assert_int_equal(message_decode(b.data, b.len, &out, &e), ERR_CORRUPT);
    }
    buf_set_u32(&b, 34, 1);
    static const uint32_t lens[] = { 0, 2, 4, ENTRY_BYTES_MAX, ENTRY_BYTES_MAX + 1, UINT32_MAX };
    for (size_t i = 0; i < 6; i++) {
        buf_set_u32(&b, 38 + 9, lens[i]);
        assert_int_equal(message_decode(b.data, b.len, &out, &e), ERR_CORRUPT);
    }
    buf_set_u32(&b, 38 + 9, 3);
    assert_int_equal(message_decode(b.data, b.len, &out, &e), 0);
    message_release(&out);
    buf_free(&b);
}

/* What does not fit into one frame leaves as the longest prefix that does; one entry over
 * the limit is refused. */
static void big_messages_are_cut(void **state)
{
    (void)state;
    uint8_t *big = calloc(1, ENTRY_BYTES_MAX + 1);
    assert_non_null(big);
    struct raft_entry in[3] = { entry(4, RAFT_COMMAND, big, ENTRY_BYTES_MAX),
                                entry(4, RAFT_COMMAND, big, 1000),
                                entry(4, RAFT_COMMAND, big, ENTRY_BYTES_MAX) };
    struct raft_message m = append(in, 3), out;
    struct buf b = encoded(&m);
    assert_true(b.len <= FRAME_BYTES_MAX);
    assert_int_equal(message_decode(b.data, b.len, &out, NULL), 0);
    assert_int_equal(out.append_entries.n_entries, 2);
    message_release(&out);
    buf_free(&b);
    in[0].buf.len = ENTRY_BYTES_MAX + 1;
    assert_int_equal(message_encode(&m, &b), ERR_TOOBIG);
    assert_int_equal(b.len, 0);
    buf_free(&b);
    free(big);
}

/* A CHANGE behind other entries starts a message of its own, with its own memory and the
 * previous index and term moved along; nothing is lost or doubled. */
static void changes_come_first(void **state)
{
    (void)state;
    struct raft_buffer conf = configuration();
    struct raft_entry in[6] = {
        entry(3, RAFT_COMMAND, "one", 3),           entry(4, RAFT_COMMAND, "two", 3),
        entry(5, RAFT_CHANGE, conf.base, conf.len), entry(5, RAFT_COMMAND, "three", 5),
        entry(5, RAFT_CHANGE, conf.base, conf.len), entry(5, RAFT_CHANGE, conf.base, conf.len)
    };
    static const unsigned want[] = { 2, 2, 1, 1 };
    struct raft_message m = append(in, 6), part = round_trip(&m), rest;
    unsigned parts = 0, at = 0;
    bool more;
    do {
        int status = -1;
        more = message_split(&part, &rest, &status);
        assert_int_equal(status, 0);
        const struct raft_append_entries *a = &part.append_entries;
        assert_int_equal(a->n_entries, want[parts]);
        assert_int_equal(a->prev_log_index, 100 + at);
        assert_int_equal(a->prev_log_term, at == 0 ? 3 : in[at - 1].term);
        for (unsigned i = 0; i < a->n_entries; i++, at++) {
            assert_true(i == 0 || a->entries[i].type != RAFT_CHANGE);
            assert_memory_equal(a->entries[i].buf.base, in[at].buf.base, in[at].buf.len);
            assert_ptr_equal(a->entries[i].batch, a->entries[0].batch);
        }
        /* As after raft_step(): the library frees the batch, we the array. */
        raft_free(a->entries[0].batch);
        message_consumed(&part);
        part = rest;
        parts++;
    } while (more);
    assert_int_equal(parts, 4);
    assert_int_equal(at, 6);
    int status;
    m = vote_request();
    assert_false(message_split(&m, &rest, &status));
    raft_free(conf.base);
}

/* ---- Configurations ---------------------------------------------------------------------- */

static void put_server(struct buf *b, uint64_t id, const char *address, uint8_t role)
{
    buf_put_u64(b, id);
    buf_put(b, address, strlen(address) + 1);
    buf_put_u8(b, role);
}

static int check(struct buf *b, const char *why)
{
    struct error e = { 0 };
    while (b->len % 8 != 0) {
        buf_put_u8(b, 0);
    }
    int rv = message_check_configuration(b->data, b->len, &e);
    if (rv != 0 && strstr(e.message, why) == NULL) {
        fail_msg("'%s' does not say '%s'", e.message, why);
    }
    buf_clear(b);
    return rv;
}

static void start(struct buf *b, uint64_t n)
{
    buf_put_u8(b, 1);
    buf_put_u64(b, n);
}

/* Only configurations that make sense pass: known roles, ids and addresses that are there
 * and unique, a voter, no more and no fewer bytes than said. */
static void configurations(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    start(&b, 2), put_server(&b, 1, "a:1", RAFT_VOTER), put_server(&b, 2, "b:1", RAFT_SPARE);
    assert_int_equal(check(&b, ""), 0);
    start(&b, 0);
    assert_int_equal(check(&b, "0 servers"), ERR_CORRUPT);
    start(&b, UINT64_MAX), put_server(&b, 1, "a:1", RAFT_VOTER);
    assert_int_equal(check(&b, "servers"), ERR_CORRUPT);
    start(&b, 2), put_server(&b, 1, "a:1", RAFT_VOTER);
    assert_int_equal(check(&b, "server 2"), ERR_CORRUPT);
    start(&b, 1), put_server(&b, 0, "a:1", RAFT_VOTER);
    assert_int_equal(check(&b, "server 1"), ERR_CORRUPT);
    start(&b, 1), put_server(&b, 1, "", RAFT_VOTER);
    assert_int_equal(check(&b, "server 1"), ERR_CORRUPT);
    start(&b, 1), put_server(&b, 1, "no port", RAFT_VOTER);
    assert_int_equal(check(&b, "server 1"), ERR_CORRUPT);
    start(&b, 1), put_server(&b, 1, "a\n:1", RAFT_VOTER);
    assert_int_equal(check(&b, "server 1"), ERR_CORRUPT);
    start(&b, 1), put_server(&b, 1, "a:1", 3);
    assert_int_equal(check(&b, "server 1"), ERR_CORRUPT);
    start(&b, 2), put_server(&b, 1, "a:1", RAFT_VOTER), put_server(&b, 1, "b:1", RAFT_VOTER);
    assert_int_equal(check(&b, "twice"), ERR_CORRUPT);
    start(&b, 2), put_server(&b, 1, "a:1", RAFT_VOTER), put_server(&b, 2, "a:1", RAFT_VOTER);
    assert_int_equal(check(&b, "twice"), ERR_CORRUPT);
    start(&b, 1), put_server(&b, 1, "a:1", RAFT_STANDBY);
    assert_int_equal(check(&b, "no voter"), ERR_CORRUPT);
    start(&b, 1), put_server(&b, 1, "a:1", RAFT_VOTER), buf_put_u64(&b, 0);
    assert_int_equal(check(&b, "left over"), ERR_CORRUPT);
    start(&b, 1), put_server(&b, 1, "a:1", RAFT_VOTER), buf_put_u8(&b, 7);
    assert_int_equal(check(&b, "padding"), ERR_CORRUPT);
    buf_put_u64(&b, 2);
    assert_int_equal(check(&b, "format"), ERR_CORRUPT);
    buf_put_u8(&b, 1); /* no terminating NUL anywhere */
    buf_put_u64(&b, 1), buf_put_u64(&b, 9), buf_put(&b, "aaaaaaa:aaaaaaa", 15);
    assert_int_equal(check(&b, "server 1"), ERR_CORRUPT);
    buf_free(&b);
}

/* A snapshot's metadata makes the round trip with its configuration and no data; one that
 * cannot exist is refused. */
static void snapshots(void **state)
{
    (void)state;
    struct raft_message m = { .type = RAFT_INSTALL_SNAPSHOT };
    struct raft_install_snapshot *s = &m.install_snapshot;
    s->term = 5, s->last_index = 1000, s->last_term = 4, s->conf_index = 3;
    raft_configuration_init(&s->conf);
    struct buf b = BUF_INIT;
    assert_int_equal(message_encode(&m, &b), ERR_BADARG);
    assert_int_equal(raft_configuration_add(&s->conf, 11, "localhost:6000", RAFT_VOTER), 0);
    struct raft_message out = round_trip(&m);
    assert_int_equal(out.install_snapshot.last_index, 1000);
    assert_int_equal(out.install_snapshot.last_term, 4);
    assert_int_equal(out.install_snapshot.conf_index, 3);
    assert_int_equal(out.install_snapshot.conf.n, 1);
    assert_string_equal(out.install_snapshot.conf.servers[0].address, "localhost:6000");
    assert_null(out.install_snapshot.data.base);
    message_release(&out);
    s->conf_index = 1001;
    refused(&m);
    s->conf_index = 0;
    refused(&m);
    s->conf_index = 3;
    s->last_term = 6;
    refused(&m);
    s->last_term = 4;
    s->last_index = 0;
    refused(&m);
    s->last_index = 1000;
    raft_configuration_close(&s->conf);
    raft_configuration_init(&s->conf);
    assert_int_equal(raft_configuration_add(&s->conf, 11, "localhost:6000", RAFT_STANDBY), 0);
    refused(&m);
    raft_configuration_close(&s->conf);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_messages),       cmocka_unit_test(impossible_numbers),
        cmocka_unit_test(unknown_kinds),        cmocka_unit_test(entries_share_one_batch),
        cmocka_unit_test(impossible_entries),   cmocka_unit_test(lying_lengths),
        cmocka_unit_test(big_messages_are_cut), cmocka_unit_test(changes_come_first),
        cmocka_unit_test(configurations),       cmocka_unit_test(snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
