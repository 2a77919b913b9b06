/* What the tests of the transaction commands share: a house, and the end of a list. */
#ifndef USHER_TESTS_COMMANDS_H
#define USHER_TESTS_COMMANDS_H

#include "lib/play.h"

/* Two rows of five, the second gold, and an area; event 1 there; event 2 in the same house. */
#define HOUSE                                                                                      \
    { "add-chart hall {'rows':[{'row':'A','seats':5},{'row':'B','seats':5,'category':'gold'}],"    \
      "'areas':[{'name':'FLOOR','capacity':10,'category':'standing'}]}",                           \
      "{'chart':'hall','seats':10,'rows':2,'areas':1,"                                             \
      "'categories':['default','gold','standing'],'index':1}" },                                   \
        { "add-event 1 hall", "{'event':'1','status':'open','index':2}" },                         \
    {                                                                                              \
        "add-event 2 hall", "{'event':'2','counts':{'free':10,'held':0,'booked':0,'blocked':0}}"   \
    }

/* The answer as text: what a list that was cut says at its end. */
static inline void assert_ends(struct play *p, const struct span *words, size_t n, const char *end)
{
    struct call call = { 0 };
    struct policy_answer a = { 0 };
    struct policy_user user = { .access = ACCESS_ADMIN };
    assert_int_equal(call_parse(p->registry, n, words, &call, NULL), 0);
    play_evaluate(p, &call, false, &user, &a);
    assert_int_equal(a.code, 0);
    buf_put_u8(&a.json, 0);
    const char *at = strstr((char *)a.json.data, ",{\"more\":true,\"next\":\"");
    assert_non_null(at);
    assert_string_equal(at, end);
    policy_answer_free(&a);
    call_free(&call);
}

#endif
