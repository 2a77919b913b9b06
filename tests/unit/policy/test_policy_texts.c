/* What a request names and says: words for seats, texts with escapes, and texts that a rule takes
 * out of the script's tables while they are still needed. */
#include "house.h"

/* Seats as words: ranges, areas, types, other events, JSON; each mistake is named. */
static void test_words(void **state)
{
    (void)state;
    static const char show[] = DO(
        "", "local o = json.list {} for i, p in ipairs(req.seats) do o[i] = p.event.id .. ':' .. "
            "p.label .. '*' .. p.count .. '=' .. (p.type or '') .. (p.data and p.data.x or '') end "
            "return { o = o }");
    PLAY(HOUSE, { "add-event 2 [{'row':'A','seats':2}]", "{}" }, { show, "" },
         { "t 1 A1", "{'o':['1:A1*1=']}" }, { "t 1 a1", "{'o':['1:A1*1=']}" },
         { "t 1 A1..A3", "{'o':['1:A1*1=','1:A2*1=','1:A3*1=']}" },
         { "t 1 A3..A2=kid", "{'o':['1:A2*1=kid','1:A3*1=kid']}" },
         { "t 1 FLOOR*3 2:A1", "{'o':['1:FLOOR*3=','2:A1*1=']}" },
         { "t 1 {'seat':'A1','event':'2','type':'kid','data':{'x':7}}", "{'o':['2:A1*1=kid7']}" },
         { "t 1", "{'o':[]}" }, { "t 1 A1 A1", "!BADARG A1 is given twice {'seat':'A1'}" },
         { "t 1 A1..A3 A2", "!BADARG A2 is given twice" },
         { "t 1 A2 A1 A2", "!BADARG A2 is given twice" },
         { "t 1 A1 A3 A2 A3", "!BADARG A3 is given" },
         { "t 1 2:A1 A1 2:A1", "!BADARG A1 is given twice" },
         { "t 1 2:A1 A1", "{'o':['2:A1*1=','1:A1*1=']}" }, { "t 1 Z1", "!NOTFOUND 'Z1'" },
         { "t 1 A11", "!NOTFOUND did you mean" }, { "t 1 A1..B1", "!BADARG one row" },
         { "t 1 A1*2", "!BADARG a seat" }, { "t 1 9:A1", "!NOTFOUND event '9'" },
         { "t 9 A1", "!NOTFOUND event '9'" }, { "book 1 ann A1..A4 FLOOR*21", "!TAKEN FLOOR" });
}

/* Texts that need escapes, in every part of an order's answer, as long as they may be. */
static void test_escapes(void **state)
{
    (void)state;
#define QUOTES "''''''''''''''''''''''''''''''''''''''''"
#define LONG   QUOTES QUOTES QUOTES "''''''''" /* 128 bytes */
    PLAY(HOUSE, { "book 1 " LONG " A1=" QUOTES " A2=" QUOTES " FLOOR*12=" QUOTES, "{}" },
         { "add-event " LONG " [{'row':'A','seats':9,'category':'stalls'}]", "{}" },
         { "book 1 ''' A3=''", "{'customer':'\\'\\'\\'','seats':[{'event':'1','seat':'A3',"
                               "'type':'\\'\\''}],'lines':[{'type':'\\'\\'','count':1}]}" },
         { "book " LONG " ann A1", "{'seats':[{'seat':'A1'}]}" });
}

/* A rule that empties the script's own list, and garbage enough for what was in it to be used
 * again: the ticket types are still those that were asked for. */
static void test_list_emptied_by_rule(void **state)
{
    (void)state;
#define TYPE "child-of-a-member-of-the-friends-of-the-house"
    PLAY(HOUSE,
         { DO("rules = { function() for i = #kept, 1, -1 do kept[i] = nil end local t = {} "
              "for i = 1, 30000 do t[i % 100] = 'ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ' .. 10000 "
              "+ i "
              "end return true end },",
              "kept = req.seats return tx:take { customer = 'c', seats = kept }"),
           "" },
         { "t 1 A1=" TYPE " A2", "{'seats':[{'seat':'A1','type':'" TYPE "'},{'seat':'A2'}]}" });
}

/* The same for the texts of the script's own table. */
static void test_table_emptied_by_rule(void **state)
{
    (void)state;
#define EMPTY                                                                                      \
    "rules = { { on = { 'take', 'confirm' }, check = function(tx, ask) if kept then "              \
    "kept.customer, kept.metadata = nil, nil end local t = {} for i = 1, 30000 do "                \
    "t[i % 100] = 'ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ' .. 10000 + i end "                     \
    "if kept and kept.count and ask.gains[1].label:find 'A' then deny('not ' .. ask.customer) "    \
    "end if ask.customer:find 'Z' then deny 'somebody else' end return true end } },"
    PLAY(HOUSE,
         { DO(EMPTY, "if req.mode == 'best' then kept = { count = 2, event = req.event } "
                     "kept.customer = ('c'):rep(50) local seats = tx:best(kept) or {} kept = nil "
                     "return { n = #seats } end "
                     "if req.mode == 'confirm' then local o = tx:take { customer = 'c', seats = "
                     "req.seats, hold = 9000 } kept = {} kept.metadata = '{\"n\":\"' .. "
                     "('m'):rep(40) .. '\"}' return tx:confirm(o, kept) end "
                     "kept = { seats = req.seats } kept.customer = ('c'):rep(50) "
                     "kept.metadata = '{\"n\":\"' .. ('m'):rep(40) .. '\"}' return tx:take(kept)"),
           "" },
         { "t 1 --mode best", "{'n':2}" },
         { "t 1 A2 --mode confirm",
           "{'metadata':{'n':'mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm'}}" },
         { "t 1 A1", "{'customer':'cccccccccccccccccccccccccccccccccccccccccccccccccc',"
                     "'metadata':{'n':'mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm'}}" });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_list_emptied_by_rule),
        cmocka_unit_test(test_table_emptied_by_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
