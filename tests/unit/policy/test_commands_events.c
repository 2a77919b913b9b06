/* The transaction commands of charts, events and seat maps: what they answer and what they refuse.
 * A case is one line; see tests/lib/play.h for how to write one. */
#include "unit/policy/commands.h"

/* Charts come in three forms; what is wrong with one is said. */
static void test_add_chart(void **state)
{
    (void)state;
    PLAY({ "add-chart a [{'row':'A','seats':10}]", "{'chart':'a','seats':10,'rows':1}" },
         { "add-chart a [{'row':'A','seats':10}]", "!CONFLICT a" },
         { "add-chart b {'rows':[{'row':'A','seats':3,'first':5,'aisles':[1]}]}", "{'seats':3}" },
         { "add-chart c {'sections':[{'name':'s','rows':[{'name':'A','seats':['A1',"
           "{'label':'A2','alias':'x','accessible':true,'category':'gold'}]}]}]}",
           "{'seats':2,'categories':['default','gold']}" },
         { "add-chart d {'zones':[{'name':'Z','rows':[{'row_number':'A','seats':["
           "{'seat_number':'1','seat_guid':'g1','position':{'x':0,'y':0},'category':'Cat'},"
           "{'seat_number':'2','seat_guid':'g2','position':{'x':9,'y':0},'category':'Cat'}]}]}]}",
           "{'seats':2,'categories':['Cat']}" },
         { "add-event d d", "{'event':'d'}" },
         { "book d ann g2", "{'seats':[{'event':'d','seat':'A2'}]}" },
         { "add-event b b", "{'event':'b'}" },
         { "book b ann A5 A7", "{'seats':[{'seat':'A5'},{'seat':'A7'}]}" },
         { "add-chart", "!BADARG add-chart needs id" },
         { "add-chart x", "!BADARG add-chart needs plan" },
         { "add-chart x [", "!BADARG plan: JSON: the text ends too early" },
         { "add-chart x @f.json", "!BADARG a file is read by the usher program" },
         { "add-chart x []", "!BADARG the house is empty" },
         { "add-chart x [{'row':'A'}]", "!BADARG row A: seats is missing" },
         { "add-chart x [{'row':'A','seats':2},{'row':'A','seats':2}]", "!BADARG A1" },
         { "add-chart x:y [{'row':'A','seats':2}]", "!BADARG the chart's id is not a valid id" },
         { "add-chart x `[{'row':'A B','seats':2}]`", "!BADARG A B1" },
         { "add-chart x [{'row':'A','seats':2000000}]", "!TOOBIG more than 1000000 seats" },
         { "add-chart e [{'row':'A','seats':2}] --dry-run", "{'chart':'e','dry_run':true}" },
         { "add-event e e", "!NOTFOUND there is no chart 'e'" });
}

/* All charts, also those that no event uses; what a list leaves out it says how to get. */
static void test_charts(void **state)
{
    (void)state;
    struct play p;
    char line[80];
    play_open(&p);
    play(&p, "charts", "[]");
    play(&p, "add-chart b [{'row':'A','seats':2},{'row':'B','seats':1,'category':'gold'}]", "{}");
    play(&p, "add-chart a {'rows':[],'areas':[{'name':'LAWN','capacity':9}]}", "{}");
    play(&p, "add-event 1 b", "{}");
    play(&p, "charts",
         "[{'chart':'a','seats':0,'rows':0,'areas':1},"
         "{'chart':'b','seats':3,'rows':2,'areas':0,'categories':['default','gold']}]");
    play(&p, "charts --after a", "[{'chart':'b'}]");
    play(&p, "charts --after aa", "[{'chart':'b'}]");
    play(&p, "charts --after b", "[]");
    play(&p, "charts a", "!BADARG 'a' is one argument too many");
    for (int i = 0; i < 999; i++) {
        (void)snprintf(line, sizeof line, "add-chart c%03d [{'row':'A','seats':1}]", i);
        play(&p, line, "{}");
    }
    play(&p, "charts --after c995", "[{'chart':'c996'},{'chart':'c997'},{'chart':'c998'}]");
    struct span words[] = { span_of("charts") };
    assert_ends(&p, words, 1, ",{\"more\":true,\"next\":\"charts --after c997\"}]");
    play_close(&p);
}

/* A stadium in the short form costs no more than its rows. */
static void test_big_chart(void **state)
{
    (void)state;
    struct buf line = BUF_INIT;
    struct play p;
    play_open(&p);
    buf_put_str(&line, "[");
    for (int i = 0; i < 1000; i++) {
        buf_printf(&line, "%s{\"row\":\"R%d-\",\"seats\":1000}", i > 0 ? "," : "", i);
    }
    buf_put_str(&line, "]");
    struct span words[] = { span_of("add-chart"), span_of("big"),
                            span_make((char *)line.data, line.len) };
    struct call call = { 0 };
    struct policy_answer a = { 0 };
    struct policy_user user = { .access = ACCESS_ADMIN };
    struct error e;
    assert_int_equal(call_parse(p.registry, 3, words, &call, &e), 0);
    play_evaluate(&p, &call, false, &user, &a);
    if (a.code != 0) {
        fail_msg("%s", a.error.message);
    }
    policy_answer_free(&a);
    call_free(&call);
    buf_free(&line);
    play(&p, "add-event 1 big", "{'counts':{'free':1000000}}");
    play(&p, "book 1 ann R999-1000", "{'seats':[{'seat':'R999-1000'}]}");
    play_close(&p);
}

/* Events: added, changed, opened, closed, removed. */
static void test_events(void **state)
{
    (void)state;
    PLAY(
        HOUSE, { "add-event 1 hall", "!CONFLICT there is an event '1' already" },
        { "add-event 3 nowhere", "!NOTFOUND there is no chart 'nowhere'" },
        { "add-event 3 [{'row':'A','seats':2}] --currency EUR --attributes {'title':'Dune'}",
          "{'event':'3','chart':'3','ruleset':null,'currency':'EUR','attributes':{'title':'Dune'},"
          "'counts':{'free':2}}" },
        { "again", "{'event':'3','attributes':{'title':'Dune'}}" },
        { "event 3", "{'ruleset':null,'currency':'EUR'}" },
        { "event 1", "{'ruleset':null,'currency':null}" },
        { "add-event 4 [{'row':'A'", "!BADARG chart: JSON" },
        { "add-event 4 [{'row':'A'}]", "!BADARG seats is missing" },
        { "add-event 4 hall --attributes [1]", "!BADARG --attributes is a JSON object" },
        { "add-event 4 hall --rules gala", "!NOTFOUND gala" },
        { "add-event 4 hall --currency euro", "!BADARG a currency has three capital letters" },
        { "add-event 4:4 hall", "!BADARG not a valid id" },
        { "add-event 4", "!BADARG add-event needs chart" },
        { "set-event 1 --attributes {'b':1,'a':2}", "{'event':'1','attributes':{'a':2,'b':1}}" },
        { "set-event 1", "!BADARG nothing to set" },
        { "set-event 9 --attributes {}", "!NOTFOUND 9" },
        { "set-event 1 --rules gala", "!NOTFOUND gala" },
        { "set-event 1 --attributes 5", "!BADARG --attributes is a JSON object" },
        { "close-event 1", "{'event':'1','status':'closed'}" },
        { "close-event 1", "{'status':'closed'}" }, { "hold 1 ann A1", "!DENIED closed" },
        { "open-event 1", "{'status':'open'}" }, { "hold 1 ann A1", "{'status':'held'}" },
        { "close-event 9", "!NOTFOUND 9" },
        { "remove-event 1", "!CONFLICT event '1' has 1 live orders; close-event" },
        { "remove-event 2", "{'event':'2','removed':true,'cancelled':0}" },
        { "event 2", "!NOTFOUND 2" },
        { "events", "[{'event':'1','status':'open'},{'event':'3','attributes':{'title':'Dune'}}]" },
        { "events --after 1", "[{'event':'3'}]" },
        { "events 1", "!BADARG '1' is one argument too many" },
        { "event 1", "{'event':'1','status':'open','chart':'hall','seats':10,"
                     "'counts':{'free':9,'held':1,'booked':0,'blocked':0},"
                     "'categories':['default','gold','standing'],'areas':[{'area':'FLOOR',"
                     "'capacity':10,'free':10,'held':0,'booked':0}],'attributes':{'b':1},"
                     "'area_counts':{'free':10,'held':0,'booked':0},'index':'*'}" },
        { "event", "!BADARG event needs event" });
}

/* Places of areas are counted beside the seats, where there are any. */
static void test_area_counts(void **state)
{
    (void)state;
    PLAY(
        { "add-event s [{'row':'A','seats':2}]", "{'area_counts':'(absent)'}" },
        { "event s", "{'areas':[],'area_counts':'(absent)'}" },
        { "add-event f {'areas':[{'name':'FLOOR','category':'c','capacity':20},"
          "{'name':'LAWN','category':'c','capacity':5}]}",
          "{'counts':{'free':0},'area_counts':{'free':25,'held':0,'booked':0}}" },
        { "book f ann FLOOR*20", "{}" }, { "hold f bob LAWN*2", "{}" },
        { "events",
          "[{'event':'s'},{'event':'f','counts':{'free':0,'held':0,'booked':0,'blocked':0},"
          "'area_counts':{'free':3,'held':2,'booked':20}}]" },
        { "event f", "{'area_counts':{'free':3,'held':2,'booked':20}}" },
        { "seats f", "{'areas':[{'area':'FLOOR','free':0,'booked':20},"
                     "{'area':'LAWN','free':3,'held':2}]}" },
        { "policy local rules = require 'usher.rules' return policy { rules = { rules.overbook { "
          "FLOOR = 110 } } }",
          "" },
        { "book f cid FLOOR*2", "{}" }, /* what is oversold takes no place of another area away */
        { "events", "[{'event':'s'},{'event':'f','area_counts':{'free':3,'held':2,'booked':22}}]" },
        { "event f", "{'areas':[{'free':-2},{'free':3}],'area_counts':{'free':3}}" });
}

/* A chart may be changed under an event as long as every taken seat is in the new one. */
static void test_set_chart(void **state)
{
    (void)state;
    PLAY(HOUSE, { "add-chart small [{'row':'A','seats':2}]", "{}" },
         { "add-chart large [{'row':'A','seats':9}]", "{}" }, { "x = book 1 ann A2", "{}" },
         { "set-event 1 --chart small", "{'chart':'small','counts':{'free':1,'booked':1}}" },
         { "set-event 1 --chart large", "{'counts':{'free':8,'booked':1}}" },
         { "book 1 bob A5", "{}" }, { "set-event 1 --chart small", "!CONFLICT A5" },
         { "set-event 1 --chart nowhere", "!NOTFOUND nowhere" },
         { "order $x", "{'seats':[{'event':'1','seat':'A2'}]}" });
}

/* remove-event --cancel-orders ends what lives there and leaves other events alone. */
static void test_remove_event(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1 2:A1", "{'seats':[{'event':'1'},{'event':'2'}]}" },
         { "y = hold 1 bob A2", "{}" },
         { "remove-event 1 --cancel-orders --dry-run", "{'cancelled':2,'dry_run':true}" },
         { "remove-event 1 --cancel-orders", "{'removed':true,'cancelled':2}" },
         { "order $y", "{'status':'cancelled'}" },
         { "order $x", "{'status':'booked','seats':[{'event':'2','seat':'A1'}]}" });
}

/* Seat maps: what is taken, and every seat with --full. */
static void test_seats(void **state)
{
    (void)state;
    PLAY(HOUSE, { "book 1 ann A1", "{}" }, { "hold 1 bob B5 FLOOR*3", "{}" },
         { "block 1 A5 --reason broken", "{}" },
         { "seats 1", "{'event':'1','counts':{'free':7,'held':1,'booked':1,'blocked':1},"
                      "'taken':{'A1':'booked','B5':'held','A5':'blocked','A2':'(absent)'},"
                      "'index':'*'}" },
         { "seats 1 --full",
           "{'rows':[{'row':'A','seats':[{'seat':'A1','status':'booked','category':'default'},"
           "{'seat':'A2','status':'free'},'*','*',{'seat':'A5','status':'blocked'}]},"
           "{'row':'B','seats':['*','*','*','*',{'seat':'B5','status':'held',"
           "'category':'gold'}]}]}" },
         { "public: seats 1", "{'event':'1'}" }, { "seats 9", "!NOTFOUND 9" },
         { "seats", "!BADARG seats needs event" }, { "seats 1 --dry-run", "{'dry_run':true}" });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_chart),    cmocka_unit_test(test_charts),
        cmocka_unit_test(test_big_chart),    cmocka_unit_test(test_events),
        cmocka_unit_test(test_area_counts),  cmocka_unit_test(test_set_chart),
        cmocka_unit_test(test_remove_event), cmocka_unit_test(test_seats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
