/* A loop, the libuv env on it and a directory on a real disk, for the tests of env_uv. */
#ifndef USHER_TESTS_UNIT_RAFTIO_ENV_FIXTURE_H
#define USHER_TESTS_UNIT_RAFTIO_ENV_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "raftio/env_uv.h"

#define DEADLINE_MS 10000

struct fixture {
    uv_loop_t loop;
    struct env *env;
    char dir[256];
};

static const struct env_ops *ops;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error e = { 0 };
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(env_uv_new(&f->loop, &f->env, &e), 0);
    ops = f->env->ops;
    assert_int_equal(ops->make_dir(f->env, "build/tmp", &e), 0);
    (void)snprintf(f->dir, sizeof f->dir, "build/tmp/env-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    env_uv_free(f->env);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(mem_test_live(), 0);
    free(f);
    return 0;
}

/* Turns the loop until *flag or the deadline. */
static void run_until(struct fixture *f, const bool *flag)
{
    uint64_t end = ops->mono_ms(f->env) + DEADLINE_MS;
    while (!*flag) {
        assert_true(ops->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
}

#endif
