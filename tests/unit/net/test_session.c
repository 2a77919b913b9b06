/* The console protocol over real scripts: what `usher console` and `usher run` rely on. */
#include "base/limits.h"
#include "resp_world.h"

#define SIZED(s) s, sizeof(s) - 1

static int setup(void **state)
{
    struct resp_world *w = mem_zalloc(sizeof *w);
    world_start_with(w, false, true);
    *state = w;
    return 0;
}

static int setup_users(void **state)
{
    struct resp_world *w = mem_zalloc(sizeof *w);
    world_start_with(w, true, true);
    *state = w;
    return 0;
}

static int setup_script(void **state, const char *text)
{
    char path[] = "/tmp/usher-test-XXXXXX";
    const char *const files[] = { path, NULL };
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
    struct resp_world *w = mem_zalloc(sizeof *w);
    world_start_files(w, false, true, files);
    (void)unlink(path);
    *state = w;
    return 0;
}

/* A node with the command `leave N`, of a profile's own script, which calls exit(N). */
static int setup_leave(void **state)
{
    return setup_script(state,
                        "return command { name = 'leave', summary = 'Leaves.', access = 'public',\n"
                        "    args = { { 'status', 'int', help = 'A status.' } },\n"
                        "    run = function(ctx, req) exit(req.status) end }\n");
}

/* Node commands that say what they do: a little, without end, and more than fits. */
static int setup_talk(void **state)
{
    return setup_script(
        state,
        "local function rows(n) return function(ctx)\n"
        "    ctx:columns { 'i' } ctx:progress 'at it'\n"
        "    for i = 1, n do ctx:row { i = i, text = ('x'):rep(200) } end\n"
        "    return 'said' end end\n"
        "return { command { name = 'say', access = 'public', args = {}, run = rows(2) },\n"
        "  command { name = 'flood', access = 'public', args = {}, run = rows(20000) },\n"
        "  command { name = 'rule', access = 'admin', args = {}, run = rows(1) },\n"
        "  command { name = 'whether', access = 'public', args = {},\n"
        "    run = function(ctx) return tostring(ctx.streams) end },\n"
        "  command { name = 'forever', access = 'public', args = {},\n"
        "    run = function(ctx) while true do ctx:progress 'on' sleep '10ms' end end } }\n");
}

static int teardown(void **state)
{
    world_stop(*state);
    mem_free(*state);
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

static size_t count_from(const struct buf *b, size_t from, const char *what)
{
    size_t n = 0, len = strlen(what);
    for (size_t i = from; i + len <= b->len; i++) {
        n += memcmp(b->data + i, what, len) == 0;
    }
    return n;
}

static size_t count(const struct buf *b, const char *what) { return count_from(b, 0, what); }

/* Reads until `what` has come `times` times. */
static void read_until(struct resp_world *w, int fd, struct buf *got, const char *what,
                       size_t times)
{
    size_t seen = count(got, what), len = strlen(what);
    while (seen < times) {
        size_t from = got->len < len ? 0 : got->len - len + 1; /* what has come in part */
        assert_false(world_read(w, fd, got, got->len + 1));
        seen += count_from(got, from, what);
    }
    buf_put_u8(got, 0);
    got->len--;
}

static int session(struct resp_world *w)
{
    struct buf got = BUF_INIT;
    int fd = world_connect(w);
    world_write(w, fd, SIZED("USHER.SESSION\r\n"));
    (void)world_read(w, fd, &got, 5);
    assert_memory_equal(got.data, "+OK\r\n", 5);
    buf_free(&got);
    return fd;
}

/* A line streams what it prints and ends with done; globals live from line to line; lines sent
 * together run one after the other and are answered in order, other requests between them. */
static void test_lines(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = session(w);
    world_write(w, fd,
                SIZED("USHER.LINE \"x = 20\"\r\nUSHER.LINE \"print(x + 1)\"\r\nPING\r\n"
                      "USHER.LINE \"= x + 2\"\r\n"));
    read_until(w, fd, &got, "done", 3);
    const char *text = (char *)got.data;
    const char *printed = strstr(text, "$3\r\nout\r\n$3\r\n21\n"), *pong = strstr(text, "+PONG");
    const char *value = strstr(text, "$5\r\nvalue\r\n$2\r\n22");
    assert_non_null(printed);
    assert_non_null(value);
    assert_true(printed < pong && pong < value);
    buf_free(&got);
    (void)close(fd);
}

/* An error ends with status 1 and its line; an unfinished statement with 2 and no error. */
static void test_status(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = session(w);
    world_write(w, fd, SIZED("USHER.LINE \"error('no')\"\r\n"));
    read_until(w, fd, &got, "done", 1);
    assert_non_null(strstr((char *)got.data, "*4\r\n$4\r\ndone\r\n:1\r\n$"));
    buf_clear(&got);
    world_write(w, fd, SIZED("USHER.LINE \"for i = 1, 2 do\"\r\n"));
    read_until(w, fd, &got, "done", 1);
    assert_non_null(strstr((char *)got.data, "*4\r\n$4\r\ndone\r\n:2\r\n$0\r\n"));
    buf_free(&got);
    (void)close(fd);
}

/* A script gets its arguments and its exit status comes back. */
static void test_run(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = session(w);
    world_write(w, fd,
                SIZED("*5\r\n$9\r\nUSHER.RUN\r\n$5\r\nx.lua\r\n$36\r\n"
                      "print(arg[1] .. arg[2])\nexit(3)     \r\n$1\r\na\r\n$1\r\nb\r\n"));
    read_until(w, fd, &got, "done", 1);
    assert_non_null(strstr((char *)got.data, "out\r\n$3\r\nab\n"));
    assert_non_null(strstr((char *)got.data, "done\r\n:3\r\n"));
    buf_free(&got);
    (void)close(fd);
}

/* KILL ends the statement that runs, itself without an answer, and the session goes on. */
static void test_kill(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = session(w);
    world_write(w, fd, SIZED("USHER.KILL\r\nUSHER.LINE \"while true do end\"\r\n"));
    for (int i = 0; i < 20; i++) {
        world_step(w);
    }
    char byte;
    assert_int_equal(read(fd, &byte, 1), -1);
    world_write(w, fd, SIZED("USHER.KILL\r\nUSHER.LINE \"= 7\"\r\n"));
    read_until(w, fd, &got, "done", 2);
    assert_memory_equal(got.data, "*4\r\n$4\r\ndone\r\n:1\r\n", 18);
    assert_non_null(strstr((char *)got.data, "interrupted"));
    assert_non_null(strstr((char *)got.data, "$1\r\n7\r\n"));
    buf_free(&got);
    (void)close(fd);
}

/* A script whose console does not read is held back: memory stays bounded; it goes on when
 * the console reads, and nothing is lost. */
static void test_flow_control(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    enum { LINES = 20000 };
    int fd = session(w);
    world_write(w, fd, SIZED("USHER.LINE \"for i = 1, 20000 do print(('x'):rep(200)) end\"\r\n"));
    int64_t blocks = mem_test_live();
    for (int i = 0; i < 3000; i++) {
        world_step(w);
    }
    assert_true(mem_test_live() < blocks + 1000);
    read_until(w, fd, &got, "done", 1);
    assert_int_equal(count(&got, "x\n") + count(&got, "x\r\n"), LINES);
    buf_free(&got);
    (void)close(fd);
}

/* A console that goes away takes its statement with it. */
static void test_gone(void **state)
{
    struct resp_world *w = *state;
    int fd = session(w);
    world_write(w, fd, SIZED("USHER.LINE \"while true do end\"\r\nUSHER.LINE \"= 1\"\r\n"));
    for (int i = 0; i < 10; i++) {
        world_step(w);
    }
    (void)close(fd);
    world_deadline(w, 5000);
    while (resp_connections(w->resp) > 0 && !w->late) {
        world_step(w);
    }
    assert_int_equal(resp_connections(w->resp), 0);
}

/* RESET in the middle of a statement ends the session; its statement is told so. */
static void test_reset(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = session(w);
    world_write(w, fd,
                SIZED("USHER.LINE \"while true do end\"\r\nUSHER.LINE \"= 1\"\r\nRESET\r\n"));
    read_until(w, fd, &got, "+RESET", 1);
    assert_int_equal(count(&got, "-UNKNOWN"), 2);
    buf_free(&got);
    (void)close(fd);
}

/* RESET behind statements that wait, with answers between them that are written with them. Slots
 * that a dead connection had left waiting are used again by others: with nothing in them. */
static void test_reset_among_waiting(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int dead = session(w);
    world_write(w, dead, SIZED("USHER.LINE \"sleep '100s'\"\r\n"));
    for (int i = 0; i < 30; i++) {
        world_write(w, dead, SIZED("USHER.LINE 1\r\n"));
    }
    for (int i = 0; i < 10; i++) {
        world_step(w); /* what was written is there to be read */
    }
    (void)close(dead);
    while (resp_connections(w->resp) > 0) {
        world_step(w);
    }
    int fd = session(w);
    world_write(w, fd, SIZED("USHER.LINE \"sleep '100s'\"\r\nUSHER.LINE 1\r\nPING\r\nRESET\r\n"));
    read_until(w, fd, &got, "+RESET", 1);
    assert_int_equal(count(&got, "the session has ended"), 2);
    buf_clear(&got);
    int other = world_connect(w);
    for (int i = 0; i < 40; i++) { /* behind the first, which is kept, they use their own buffers */
        world_write(w, other, SIZED("USHER.CALL whether\r\n"));
    }
    world_write(w, other, SIZED("PING\r\n"));
    read_until(w, other, &got, "+PONG", 1);
    assert_int_equal(count(&got, "the session has ended"), 0);
    buf_free(&got);
    (void)close(fd);
    (void)close(other);
}

/* The console is for operators. */
static void test_access(void **state)
{
    struct resp_world *w = *state;
    struct buf got = world_talk(w, SIZED("USHER.SESSION\r\nAUTH app pw\r\nUSHER.SESSION\r\n"));
    assert_memory_equal(got.data, "-NOAUTH ", 8);
    assert_non_null(strstr((char *)got.data, "+OK\r\n-NOPERM "));
    buf_free(&got);
    got = world_talk(w, SIZED("AUTH root secret\r\nUSHER.LINE x\r\nUSHER.SESSION x\r\n"
                              "USHER.NOSUCH\r\n"));
    assert_non_null(strstr((char *)got.data, "+OK\r\n-BADARG no console session"));
    assert_non_null(strstr((char *)got.data, "-BADARG this is not the console protocol"));
    buf_free(&got);
}

/* A node command that calls exit(n) is answered, with an error when n is not 0, and the node
 * goes on. */
static void test_exit(void **state)
{
    struct resp_world *w = *state;
    struct buf got = world_talk(w, SIZED("LEAVE 3\r\nPING\r\n"));
    assert_non_null(strstr((char *)got.data, "-BADARG "));
    assert_non_null(strstr((char *)got.data, "exit(3)"));
    assert_non_null(strstr((char *)got.data, "+PONG"));
    buf_free(&got);
}

/* USHER.CALL sends what a node command says in front of its answer, which is the same as
 * without; plain RESP gets the answer alone, and the command knows which it is. */
static void test_call(void **state)
{
    struct resp_world *w = *state;
    struct buf got =
        world_talk(w, SIZED("USHER.CALL say\r\nSAY\r\nUSHER.CALL whether\r\nWHETHER\r\n"
                            "USHER.CALL\r\nUSHER.CALL nosuch\r\nUSHER.AGAIN say\r\n"));
    const char *text = (char *)got.data;
    const char *columns = strstr(text, "*2\r\n$7\r\ncolumns\r\n$5\r\n[\"i\"]\r\n");
    const char *progress = strstr(text, "*2\r\n$8\r\nprogress\r\n$5\r\nat it\r\n");
    const char *row = strstr(text, "*2\r\n$3\r\nrow\r\n"),
               *said = strstr(text, "$6\r\n\"said\"\r\n");
    assert_memory_equal(text, "*2\r\n$4\r\nnode\r\n$0\r\n\r\n", 20);
    assert_true(columns == text + 20 && progress > columns && row > progress && said > row);
    assert_int_equal(count(&got, "$3\r\nrow\r\n"), 2);
    assert_int_equal(count(&got, "$6\r\n\"said\"\r\n"), 2);
    assert_non_null(strstr(text, "$6\r\n\"true\"\r\n$7\r\n\"false\"\r\n"));
    assert_non_null(strstr(text, "-BADARG no command"));
    assert_non_null(strstr(text, "-NOTFOUND "));
    assert_non_null(strstr(text, "-UNKNOWN the connection broke while `say` ran"));
    buf_free(&got);
}

static void wait_alone(struct resp_world *w)
{
    world_deadline(w, 5000);
    bool alone = false;
    while (!alone && !w->late) {
        struct buf got = world_talk(w, SIZED("PS\r\n"));
        alone = count(&got, "forever") == 0;
        buf_free(&got);
    }
    assert_true(alone);
}

/* A command without an end ends with the connection that called it, also when the statement
 * that called it is killed, and its session goes on. */
static void test_call_ends(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = world_connect(w);
    world_write(w, fd, SIZED("USHER.CALL forever\r\n"));
    read_until(w, fd, &got, "progress", 3);
    (void)close(fd);
    wait_alone(w);
    buf_clear(&got);
    fd = session(w);
    world_write(w, fd, SIZED("USHER.LINE forever\r\n"));
    read_until(w, fd, &got, "progress", 3);
    world_write(w, fd, SIZED("USHER.KILL\r\n"));
    read_until(w, fd, &got, "interrupted", 1);
    wait_alone(w);
    world_write(w, fd, SIZED("USHER.LINE \"= 6 * 7\"\r\n"));
    read_until(w, fd, &got, "$2\r\n42\r\n", 1);
    buf_free(&got);
    (void)close(fd);
}

/* What a slow reader has not taken holds the command back; nothing of it is lost. */
static void test_call_flow(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = world_connect(w);
    world_write(w, fd, SIZED("USHER.CALL flood\r\n"));
    int64_t blocks = mem_test_live();
    for (int i = 0; i < 3000; i++) {
        world_step(w);
    }
    assert_true(mem_test_live() < blocks + 1000);
    read_until(w, fd, &got, "\"said\"", 1);
    assert_int_equal(count(&got, "$3\r\nrow\r\n"), 20000);
    buf_free(&got);
    (void)close(fd);
}

/* Each command has its own level: who may not run it may not call it either, and the rest of
 * the console stays closed. */
static void test_call_access(void **state)
{
    struct resp_world *w = *state;
    struct buf got = world_talk(w, SIZED("USHER.CALL help\r\nUSHER.CALL ps\r\nUSHER.PROMPT\r\n"
                                         "USHER.COMPLETE h\r\nAUTH app pw\r\nUSHER.CALL ps\r\n"));
    assert_memory_equal(got.data, "*2\r\n$4\r\nnode", 12);
    assert_int_equal(count(&got, "-NOAUTH "), 3);
    assert_int_equal(count(&got, "-NOPERM "), 1);
    buf_free(&got);
}

/* A line that is sent again is not run twice unless it is a command with its id. */
static void test_again(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = session(w);
    world_write(w, fd,
                SIZED("USHER.LINE \"x = 1\" id-1 again\r\nUSHER.LINE help id-2 again\r\n"
                      "USHER.LINE \"= x\" id-3\r\n"));
    read_until(w, fd, &got, "done", 3);
    assert_int_equal(count(&got, "UNKNOWN the connection broke while this ran"), 2);
    assert_int_equal(count(&got, "$1\r\n1\r\n"), 0); /* x was not set */
    buf_free(&got);
    (void)close(fd);
}

/* Completion knows commands, and the Lua names of the session that asks. */
static void test_complete(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = session(w);
    world_write(w, fd,
                SIZED("USHER.LINE \"treasure = { gold = 1 }\"\r\nUSHER.COMPLETE forev\r\n"
                      "USHER.COMPLETE \"= trea\"\r\nUSHER.COMPLETE \"= treasure.\"\r\n"
                      "USHER.COMPLETE \"= nothing.at.all.\"\r\n"));
    read_until(w, fd, &got, "done", 5);
    const char *text = (char *)got.data;
    assert_non_null(strstr(text, "{\"from\":0,\"items\":[{\"help\":\"\",\"text\":\"forever\"}]"));
    assert_non_null(strstr(text, "{\"from\":2,\"items\":[{\"help\":\"table\",\"open\":true,"
                                 "\"text\":\"treasure\"}]}"));
    assert_non_null(strstr(text, "{\"from\":11,\"items\":[{\"help\":\"1\",\"open\":true,"
                                 "\"text\":\"gold\"}]}"));
    assert_non_null(strstr(text, "\"items\":[]}"));
    buf_free(&got);
    (void)close(fd);
}

/* A misspelt command is told its nearest, a name that is nothing is not taken for nil, and Lua
 * that is wrong stays a Lua error. */
static void test_guess(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int fd = session(w);
    world_write(w, fd,
                SIZED("USHER.LINE \"forver 1 2\"\r\nUSHER.LINE sya\r\n"
                      "USHER.LINE \"x = = 1\"\r\nUSHER.LINE nil\r\n"));
    read_until(w, fd, &got, "done", 4);
    const char *text = (char *)got.data;
    assert_non_null(strstr(text, "NOTFOUND there is no command `forver`; did you mean `forever`?"));
    assert_non_null(
        strstr(text, "NOTFOUND there is no command or variable `sya`; did you mean `say`?"));
    assert_non_null(strstr(text, "BADARG console:1:"));
    assert_int_equal(count(&got, "done\r\n:0\r\n"), 1);
    buf_free(&got);
    (void)close(fd);
}

/* When as many scripts are at work as a node allows, the next line is refused, and the session goes
 * on as soon as there is room. */
static void test_no_room(void **state)
{
    struct resp_world *w = *state;
    struct buf got = BUF_INIT;
    int crowd = world_connect(w), fd = session(w);
    for (int i = 0; i < SCRIPT_TASKS_MAX; i++) {
        world_write(w, crowd, SIZED("USHER.CALL forever\r\n"));
    }
    world_write(w, fd, SIZED("USHER.LINE x=1\r\n"));
    read_until(w, fd, &got, "done", 1);
    assert_int_equal(count(&got, "BUSY too many scripts are at work on this node"), 1);
    (void)close(crowd);
    buf_clear(&got);
    while (count(&got, "\r\n:0\r\n") == 0) { /* until those of the connection have ended */
        world_write(w, fd, SIZED("USHER.LINE x=1\r\n"));
        buf_clear(&got);
        read_until(w, fd, &got, "done", 1);
    }
    buf_free(&got);
    (void)close(fd);
}

int main(void)
{
#define WITH(test, up) cmocka_unit_test_setup_teardown(test, up, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_lines, setup),
        WITH(test_status, setup),
        WITH(test_run, setup),
        WITH(test_kill, setup),
        WITH(test_flow_control, setup),
        WITH(test_gone, setup),
        WITH(test_reset, setup),
        WITH(test_reset_among_waiting, setup_talk),
        WITH(test_access, setup_users),
        WITH(test_exit, setup_leave),
        WITH(test_call, setup_talk),
        WITH(test_call_ends, setup_talk),
        WITH(test_call_flow, setup_talk),
        WITH(test_call_access, setup_users),
        WITH(test_again, setup_talk),
        WITH(test_complete, setup_talk),
        WITH(test_guess, setup_talk),
        WITH(test_no_room, setup_talk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
