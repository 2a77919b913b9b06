/* RESP: what clients send is answered in order; what nobody should send gets one error or a
 * close, and never memory. */
#include "base/limits.h"
#include "net/resp/conn.h"
#include "resp_world.h"

#define SIZED(s) s, sizeof(s) - 1

static void assert_begins(const struct buf *b, const char *text, size_t len)
{
    assert_true(b->len >= len);
    assert_memory_equal(b->data, text, len);
}

static int setup(void **state)
{
    struct resp_world *w = mem_zalloc(sizeof *w);
    world_start(w, false);
    *state = w;
    return 0;
}

static int setup_users(void **state)
{
    struct resp_world *w = mem_zalloc(sizeof *w);
    world_start(w, true);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_stop(*state);
    mem_free(*state);
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

static void expect(struct resp_world *w, const char *in, size_t len, const char *out)
{
    struct buf got = world_talk(w, in, len);
    assert_string_equal((char *)got.data, out);
    buf_free(&got);
}

/* The verbs that Redis clients send before they begin are answered as they expect. */
static void test_verbs(void **state)
{
    struct resp_world *w = *state;
    expect(w, SIZED("*1\r\n$4\r\nPING\r\n"), "+PONG\r\n");
    expect(w, SIZED("*2\r\n$4\r\nping\r\n$2\r\nhi\r\n"), "$2\r\nhi\r\n");
    expect(w, SIZED("*2\r\n$4\r\nECHO\r\n$3\r\na\0b\r\n"), "$3\r\na");
    expect(w, SIZED("ECHO\r\n"), "-BADARG ECHO takes one argument; usage: ECHO TEXT\r\n");
    expect(w, SIZED("SELECT 0\r\nSELECT 1\r\n"),
           "+OK\r\n-BADARG there is one database, 0; use SELECT 0, or none at all\r\n");
    expect(w, SIZED("CLIENT SETNAME me\r\nCLIENT GETNAME\r\nCLIENT SETINFO lib-name x\r\n"),
           "+OK\r\n$2\r\nme\r\n+OK\r\n");
    expect(w, SIZED("RESET\r\nCLIENT GETNAME\r\n"), "+RESET\r\n$-1\r\n");
    expect(w, SIZED("COMMAND COUNT\r\n"), ":14\r\n");
    expect(w, SIZED("QUIT\r\nPING\r\n"), "+OK\r\n");
    expect(w, SIZED("HELLO 4\r\n"),
           "-NOPROTO BADARG protocol versions 2 and 3 are spoken here\r\n");
    struct buf hello = world_talk(w, SIZED("HELLO 3 SETNAME x\r\nCLIENT GETNAME\r\n"));
    assert_non_null(strstr((char *)hello.data, "%7\r\n$6\r\nserver\r\n$5\r\nusher\r\n"));
    assert_non_null(strstr((char *)hello.data, "$5\r\nproto\r\n:3\r\n"));
    assert_non_null(strstr((char *)hello.data, "$1\r\nx\r\n"));
    buf_free(&hello);
    hello = world_talk(w, SIZED("HELLO\r\n"));
    assert_memory_equal(hello.data, "*14\r\n", 5);
    buf_free(&hello);
    struct buf docs = world_talk(w, SIZED("COMMAND DOCS tell nothing\r\nINFO\r\nCOMMAND\r\n"));
    assert_begins(&docs, SIZED("*2\r\n$4\r\ntell\r\n*8\r\n$7\r\nsummary\r\n"));
    assert_non_null(strstr((char *)docs.data, "server:usher\r\n"));
    buf_free(&docs);
}

/* Other words go to the service; its answers are bulk strings, its errors one line. */
static void test_commands(void **state)
{
    struct resp_world *w = *state;
    expect(w, SIZED("*3\r\n$4\r\nTELL\r\n$1\r\na\r\n$3\r\nb c\r\n"), "$11\r\n[\"a\",\"b c\"]\r\n");
    expect(w, SIZED("tell 'a b' \"c\\\"d\"\r\n"), "$14\r\n[\"a b\",\"c\\\"d\"]\r\n");
    struct buf got = world_talk(w, SIZED("tel\r\n"));
    assert_begins(&got, SIZED("-NOTFOUND "));
    assert_non_null(strstr((char *)got.data, "tell"));
    buf_free(&got);
}

/* Libraries wrap a pipeline in MULTI and EXEC by themselves: nothing of such a block is done, and
 * the connection goes on behind it, whatever ends it. */
static void test_multi(void **state)
{
#define WITHOUT "; send the commands without MULTI (redis-py: pipeline(transaction=False))\r\n"
#define REFUSED                                                                                    \
    "-BADARG there is no MULTI: every command is a transaction; nothing up to EXEC is "            \
    "done" WITHOUT
#define NOT_DONE "-BADARG not done: it stands in a MULTI, which was refused" WITHOUT
    struct resp_world *w = *state;
    expect(w, SIZED("MULTI\r\ntell a\r\nPING\r\nUSHER.CALL tell a\r\nEXEC\r\ntell b\r\n"),
           REFUSED NOT_DONE NOT_DONE NOT_DONE
           "-EXECABORT BADARG nothing of this MULTI was done" WITHOUT "$5\r\n[\"b\"]\r\n");
    expect(w, SIZED("MULTI\r\nDISCARD\r\ntell b\r\n"), REFUSED "+OK\r\n$5\r\n[\"b\"]\r\n");
    expect(w, SIZED("MULTI\r\nRESET\r\ntell b\r\n"), REFUSED "+RESET\r\n$5\r\n[\"b\"]\r\n");
    expect(w, SIZED("EXEC\r\n"), "-BADARG EXEC without MULTI" WITHOUT);
}

/* Line ends and control bytes in an error's text cannot end its line early. */
static void test_error_line(void **state)
{
    expect(*state, SIZED("tell wrong\r\nPING\r\n"), "-TAKEN one?\?-two\r\n+PONG\r\n");
}

/* Answers come in the order of the requests, however late the first one is. */
static void test_order(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = world_connect(w);
    world_write(w, fd, SIZED("tell later\r\ntell b\r\nPING\r\ntell later\r\nECHO x\r\n"));
    world_deadline(w, 5000);
    while (w->kept_count < 2 && !w->late) {
        world_step(w);
    }
    assert_int_equal(w->kept_count, 2);
    char byte;
    assert_int_equal(read(fd, &byte, 1), -1); /* nothing yet */
    world_tell(w, w->kept[1]);
    world_tell(w, w->kept[0]);
    w->kept_count = 0;
    const char *want =
        "$9\r\n[\"later\"]\r\n$5\r\n[\"b\"]\r\n+PONG\r\n$9\r\n[\"later\"]\r\n$1\r\nx\r\n";
    (void)world_read(w, fd, &got, strlen(want));
    assert_memory_equal(got.data, want, strlen(want));
    buf_free(&got);
    (void)close(fd);
}

/* A client that goes away cancels its requests; their late answers go nowhere. */
static void test_cancel(void **state)
{
    struct resp_world *w = *state;
    int fd = world_connect(w);
    world_write(w, fd, SIZED("tell later\r\ntell later\r\n"));
    world_deadline(w, 5000);
    while (w->kept_count < 2 && !w->late) {
        world_step(w);
    }
    struct linger hard = { 1, 0 };
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    (void)close(fd);
    /* On a socketpair the end of the stream is all that is seen: answering meets EPIPE. */
    world_tell(w, w->kept[0]);
    world_deadline(w, 5000);
    while (resp_connections(w->resp) > 0 && !w->late) {
        world_step(w);
    }
    assert_int_equal(resp_connections(w->resp), 0);
    assert_int_equal(w->canceled, 1);
    w->kept[0] = w->kept[1];
    w->kept_count = 1; /* answered by world_stop */
}

/* Bytes that arrive one at a time are the same request. */
static void test_one_byte_at_a_time(void **state)
{
    struct resp_world *w = *state;
    static const char in[] = "*2\r\n$4\r\ntell\r\n$2\r\nab\r\nPING\r\n*1\r\n$4\r\nPING\r\n";
    const char *want = "$6\r\n[\"ab\"]\r\n+PONG\r\n+PONG\r\n";
    struct buf got = BUF_INIT;
    int fd = world_connect(w);
    for (size_t i = 0; i < sizeof in - 1; i++) {
        world_write(w, fd, in + i, 1);
        world_step(w);
    }
    (void)world_read(w, fd, &got, strlen(want));
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.data, want, strlen(want));
    buf_free(&got);
    (void)close(fd);
}

/* Every hostile beginning gets one error line and the end, before anything is allocated. */
static void test_hostile(void **state)
{
    struct resp_world *w = *state;
    static const struct {
        const char *in;
        size_t len;
        const char *why; /* part of the error */
    } cases[] = {
        { SIZED("*-1\r\n"), "nil" },
        { SIZED("*0\r\n"), "1 to 4096" },
        { SIZED("*2147483648\r\n"), "range" },
        { SIZED("*9999999\r\n"), "1 to 4096" },
        { SIZED("*99999999999999999999999999\r\n"), "length" },
        { SIZED("*abc\r\n"), "" },
        { SIZED("*1\r\n$-2\r\n"), "range" },
        { SIZED("*1\r\n$-1\r\n"), "nil" },
        { SIZED("*1\r\n$536870913\r\n"), "too large" },
        { SIZED("*1\r\n$16777217\r\n"), "too large" },
        { SIZED("*2\r\n$4\r\nPING\r\n$16777213\r\n"), "too large" },
        { SIZED("*1\r\n$99999999999999999999\r\n"), "" },
        { SIZED("*1\r\n$4\r\nPINGxx*1\r\n"), "CR LF" },
        { SIZED("*1\r\n$4 \r\nPING\r\n"), "" },
        { SIZED("*1\r\n:1\r\n"), "bulk strings" },
        { SIZED("*1\r\n+PING\r\n"), "bulk strings" },
        { SIZED("*1\r\n*1\r\n$4\r\nPING\r\n"), "flat array" },
        { SIZED("*2\r\n$4\r\nPING\r\n*1\r\n$1\r\nx\r\n"), "flat array" },
        { SIZED("*1\r\n!\r\n"), "" },
        { SIZED("*1\r\n$000000000000000000000000000000004\r\nPING\r\n"), "" },
        { SIZED("tell 'a\r\n"), "quotes" },
        { SIZED("tell \0\r\n"), "NUL" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf got = world_talk(w, cases[i].in, cases[i].len);
        const char *text = (const char *)got.data;
        if (strncmp(text, "-BADARG protocol error: ", 24) != 0 ||
            strstr(text, cases[i].why) == NULL || strchr(text, '\n') != text + got.len - 2) {
            fail_msg("case %zu: got %s", i, text);
        }
        buf_free(&got);
    }
}

/* A protocol error ends the connection by itself, without the client's help. */
static void test_error_closes(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = world_connect(w);
    world_write(w, fd, SIZED("PING\r\n*1\r\n$-2\r\nPING\r\n"));
    assert_true(world_read(w, fd, &got, SIZE_MAX));
    assert_begins(&got, SIZED("+PONG\r\n-BADARG protocol error"));
    assert_null(memmem(got.data + 7, got.len - 7, SIZED("PONG")));
    buf_free(&got);
    (void)close(fd);
}

/* A line without an end stops at its limit, and so does one of words without end. */
static void test_long_lines(void **state)
{
    struct resp_world *w = *state;
    size_t len = 65 * 1024 + 100;
    char *line = mem_alloc(len);
    memset(line, 'a', len);
    struct buf got = world_talk(w, line, len);
    assert_non_null(strstr((char *)got.data, "the line is too long"));
    buf_free(&got);
    for (size_t i = 1; i < len; i += 2) {
        line[i] = ' ';
    }
    memcpy(line + 20000, "\r\n", 2);
    got = world_talk(w, line, 20002);
    assert_non_null(strstr((char *)got.data, "too many words"));
    buf_free(&got);
    mem_free(line);
}

/* The most words that are allowed arrive; one more does not. */
static void test_word_limit(void **state)
{
    struct resp_world *w = *state;
    struct buf in = BUF_INIT;
    buf_printf(&in, "*%d\r\n$4\r\ntell\r\n", REQUEST_ARGS_MAX);
    for (int i = 1; i < REQUEST_ARGS_MAX; i++) {
        buf_put_str(&in, "$1\r\nx\r\n");
    }
    struct buf got = world_talk(w, in.data, in.len);
    assert_int_equal(got.data[0], '$');
    buf_free(&got);
    buf_free(&in);
}

/* `n` requests ECHO with a word of `len` bytes. */
static void put_echoes(struct buf *in, int n, size_t len)
{
    static char word[100000];
    assert_true(len <= sizeof word);
    memset(word, 'w', len);
    for (int i = 0; i < n; i++) {
        buf_printf(in, "*2\r\n$4\r\nECHO\r\n$%zu\r\n", len);
        buf_put(in, word, len);
        buf_put_str(in, "\r\n");
    }
}

/* 100,000 pipelined requests of a client that does not read: the server stops reading, holds
 * a bounded amount, and answers all of them once the client reads. */
static void test_flood_without_reading(void **state)
{
    struct resp_world *w = *state;
    enum { REQUESTS = 100000 };
    struct buf in = BUF_INIT, got = BUF_INIT;
    put_echoes(&in, REQUESTS, 900);
    int fd = world_connect(w);
    size_t sent = 0, stuck = 0;
    while (sent < in.len && stuck < 200) {
        ssize_t n = send(fd, in.data + sent, in.len - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        stuck = n > 0 ? 0 : stuck + 1;
        world_step(w);
    }
    assert_true(sent < in.len / 4); /* held back, long before everything was taken */
    while (sent < in.len || got.len < (size_t)REQUESTS * 908) {
        ssize_t n = sent < in.len ? send(fd, in.data + sent, in.len - sent, MSG_NOSIGNAL) : 0;
        sent += n > 0 ? (size_t)n : 0;
        char bytes[65536];
        n = read(fd, bytes, sizeof bytes);
        assert_true(n > 0 || errno == EAGAIN);
        if (n > 0) {
            buf_put(&got, bytes, (size_t)n);
        }
        world_step(w);
    }
    assert_int_equal(got.len, (size_t)REQUESTS * 908);
    assert_memory_equal(got.data + got.len - 908, "$900\r\nwww", 9);
    buf_free(&in);
    buf_free(&got);
    (void)close(fd);
}

/* Asks for `n` answers of 100 kB each. */
static int ask_for_much(struct resp_world *w, int n)
{
    struct buf in = BUF_INIT;
    put_echoes(&in, n, 100000);
    int fd = world_connect(w);
    world_write(w, fd, in.data, in.len);
    buf_free(&in);
    return fd;
}

/* Clients that read nothing, none of which leaves much: together they may leave 8 MiB here. The one
 * that left most goes, and the others get all of theirs. */
static void test_many_without_reading(void **state)
{
    struct resp_world *w = *state;
    enum { CLIENTS = 20 };
    int fds[CLIENTS], large = ask_for_much(w, 9);
    size_t ended = 0;
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = ask_for_much(w, 7);
    }
    struct buf got = BUF_INIT;
    assert_true(world_read(w, large, &got, 9 * 100011));
    assert_true(got.len < 9 * 100011);
    for (int i = 0; i < CLIENTS; i++) {
        buf_clear(&got);
        ended += world_read(w, fds[i], &got, 7 * 100011) ? 1 : 0;
        (void)close(fds[i]);
    }
    assert_in_range(ended, 1, CLIENTS / 2);
    world_step(w);
    assert_int_equal(resp_connections(w->resp), 0);
    struct buf again = world_talk(w, "PING\r\n", 6);
    assert_string_equal(again.data, "+PONG\r\n");
    buf_free(&again);
    buf_free(&got);
    (void)close(large);
}

/* With users, strangers may do what is public, hear NOAUTH for more, and send little. */
static void test_users(void **state)
{
    struct resp_world *w = *state;
    struct buf got = world_talk(w, SIZED("tell a\r\nmanage\r\nUSHER.SESSION\r\n"));
    assert_begins(&got, SIZED("$5\r\n[\"a\"]\r\n-NOAUTH "));
    buf_free(&got);
    got = world_talk(w, SIZED("AUTH app pw\r\nmanage\r\n"));
    assert_begins(&got, SIZED("+OK\r\n-NOPERM `manage` needs access `admin`; user app"));
    buf_free(&got);
    expect(w, SIZED("AUTH root secret\r\nmanage x\r\n"), "+OK\r\n$5\r\n[\"x\"]\r\n");
    got = world_talk(w, SIZED("HELLO 3 AUTH root secret\r\nmanage x\r\nRESET\r\nmanage x\r\n"));
    assert_non_null(strstr((char *)got.data, "$5\r\n[\"x\"]\r\n+RESET\r\n-NOAUTH"));
    buf_free(&got);
    got = world_talk(w, SIZED("*2\r\n$4\r\nECHO\r\n$16381\r\n"));
    assert_non_null(strstr((char *)got.data, "too large"));
    buf_free(&got);
}

/* A slow password is checked aside; what is behind it in the pipeline waits for it. */
static void test_slow_password(void **state)
{
    struct resp_world *w = *state;
    expect(w, SIZED("AUTH slow slow\r\nmanage x\r\n"), "+OK\r\n$5\r\n[\"x\"]\r\n");
    expect(w, SIZED("AUTH slow slow\r\nmanage x\r\n"), "+OK\r\n$5\r\n[\"x\"]\r\n");
    struct buf got = world_talk(w, SIZED("AUTH slow wrong\r\nmanage x\r\n"));
    assert_begins(&got, SIZED("-NOAUTH wrong user name or password"));
    assert_non_null(strstr((char *)got.data, "\n-NOAUTH `manage`"));
    buf_free(&got);
    int fd = world_connect(w); /* goes away while its password is checked */
    world_write(w, fd, SIZED("AUTH slow again\r\n"));
    (void)close(fd);
}

/* Guessing passwords ends the connection after a few. */
static void test_guessing(void **state)
{
    struct resp_world *w = *state;
    struct buf in = BUF_INIT;
    for (int i = 0; i < 100; i++) {
        buf_printf(&in, "AUTH root guess%d\r\n", i);
    }
    struct buf got = world_talk(w, in.data, in.len);
    size_t lines = 0;
    for (size_t i = 0; i < got.len; i++) {
        lines += got.data[i] == '\n';
    }
    assert_int_equal(lines, AUTH_FAILURES_MAX);
    buf_free(&got);
    buf_free(&in);
}

/* Subscriptions are confirmed, counted, and refused for what is no channel. */
static void test_subscribe(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    static const char in[] = "SUBSCRIBE event:1 event:2\r\nSUBSCRIBE event:1\r\nECHO x\r\nPING\r\n"
                             "UNSUBSCRIBE event:1\r\nUNSUBSCRIBE\r\nUNSUBSCRIBE\r\nECHO x\r\n";
    static const char want[] = "*3\r\n$9\r\nsubscribe\r\n$7\r\nevent:1\r\n:1\r\n"
                               "*3\r\n$9\r\nsubscribe\r\n$7\r\nevent:2\r\n:2\r\n"
                               "*3\r\n$9\r\nsubscribe\r\n$7\r\nevent:1\r\n:2\r\n"
                               "-BADARG this connection is subscribed: only (UN)SUBSCRIBE, PING, "
                               "RESET, QUIT; UNSUBSCRIBE first, or use RESP3 (HELLO 3)\r\n"
                               "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
                               "*3\r\n$11\r\nunsubscribe\r\n$7\r\nevent:1\r\n:1\r\n"
                               "*3\r\n$11\r\nunsubscribe\r\n$7\r\nevent:2\r\n:0\r\n"
                               "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"
                               "$1\r\nx\r\n";
    int fd = world_connect(w);
    world_write(w, fd, SIZED(in));
    (void)world_read(w, fd, &got, sizeof want - 1);
    assert_int_equal(got.len, sizeof want - 1);
    assert_memory_equal(got.data, want, got.len);
    buf_free(&got);
    (void)close(fd);
    got = world_talk(w, SIZED("SUBSCRIBE seats\r\n"));
    assert_begins(&got, SIZED("-BADARG there is no such channel"));
    buf_free(&got);
}

/* ---- Cut off, and not: looked at from inside, so that no test takes 30 s ------------------------
 */

/* Two sweeps of the server, which come once a second. True while the connection lives. */
static bool survives_sweeps(struct resp_world *w)
{
    world_deadline(w, 2500);
    while (!w->late && resp_connections(w->resp) > 0) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    return resp_connections(w->resp) > 0;
}

/* Who takes a long answer slowly is served; who takes none of it for too long is not. */
static void test_slow_reader(void **state)
{
    struct resp_world *w = *state;
    struct buf in = BUF_INIT, got = BUF_INIT;
    int fd = world_connect(w);
    buf_printf(&in, "*2\r\n$4\r\nTELL\r\n$4000000\r\n");
    for (int i = 0; i < 400000; i++) {
        buf_put_str(&in, "0123456789");
    }
    buf_put_str(&in, "\r\n");
    world_write(w, fd, in.data, in.len);
    (void)world_read(w, fd, &got, 500000);
    struct conn *c = w->resp->conns;
    assert_true(c->writing);
    uint64_t long_ago = uv_now(&w->loop) - STALLED_MS;
    c->stalled_ms = long_ago;
    (void)world_read(w, fd, &got, 1500000);
    assert_true(survives_sweeps(w));
    assert_true(c->stalled_ms > long_ago);
    c->stalled_ms = long_ago;
    assert_false(survives_sweeps(w));
    buf_free(&got);
    buf_free(&in);
    (void)close(fd);
}

/* Where there are users, a public connection is cut off when it asks for nothing. */
static void test_public_connection(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = world_connect(w);
    struct conn *c = w->resp->conns;
    c->asked_ms = uv_now(&w->loop) - UNAUTHENTICATED_MS;
    world_write(w, fd, SIZED("PING\r\n"));
    (void)world_read(w, fd, &got, 7);
    assert_true(survives_sweeps(w));
    c->asked_ms = uv_now(&w->loop) - UNAUTHENTICATED_MS;
    assert_false(survives_sweeps(w));
    buf_free(&got);
    (void)close(fd);
}

int main(void)
{
#define WITH(test, up) cmocka_unit_test_setup_teardown(test, up, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_verbs, setup),
        WITH(test_commands, setup),
        WITH(test_multi, setup),
        WITH(test_error_line, setup),
        WITH(test_order, setup),
        WITH(test_cancel, setup),
        WITH(test_one_byte_at_a_time, setup),
        WITH(test_hostile, setup),
        WITH(test_error_closes, setup),
        WITH(test_long_lines, setup),
        WITH(test_word_limit, setup),
        WITH(test_flood_without_reading, setup),
        WITH(test_many_without_reading, setup),
        WITH(test_users, setup_users),
        WITH(test_slow_password, setup_users),
        WITH(test_guessing, setup_users),
        WITH(test_subscribe, setup),
        WITH(test_slow_reader, setup),
        WITH(test_public_connection, setup_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
