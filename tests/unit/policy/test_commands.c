/* The transaction commands of orders and values over the real VM and store, and the usage of all
 * commands: what they answer, what they refuse, what they do with wrong arguments. A case is one
 * line; see tests/lib/play.h for how to write one. */
#include "unit/policy/commands.h"

/* hold and book: what is granted, in every way of naming seats. */
static void test_take(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { "x = hold 1 ann A1 A2",
          "{'order':'*','status':'held','customer':'ann','expires_at':601000,"
          "'seats':[{'event':'1','seat':'A1'},{'event':'1','seat':'A2'}],'price':0,"
          "'lines':[{'count':2}],'index':4}" },
        { "again", "{'order':'$x','status':'held'}" },
        { "order $x", "{'order':'$x','status':'held','metadata':'(absent)'}" },
        { "y = book 1 bob a3 --metadata {'b':1,'a':[]}",
          "{'status':'booked','expires_at':'(absent)','seats':[{'seat':'A3'}],"
          "'metadata':{'a':[],'b':1}}" },
        { "book 1 bob B1..B3", "{'seats':[{'seat':'B1'},{'seat':'B2'},{'seat':'B3'}]}" },
        { "book 2 bob B3..B1", "{'seats':['*','*','*']}" },
        { "book 1 cid A4 2:A4", "{'seats':[{'event':'1','seat':'A4'},{'event':'2','seat':'A4'}]}" },
        { "book 1 cid FLOOR*4=child A5=child",
          "{'seats':[{'seat':'FLOOR','count':4,'type':'child'},{'seat':'A5','type':'child'}]}" },
        { "book 2 dan {'seat':'A5','type':'x'} {'seat':'A1','event':'1'} --dry-run", "!TAKEN A1" },
        { "hold 2 eve A5 --ttl 90", "{'expires_at':91000}" },
        { "hold 2 eve B4 --ttl 30m", "{'expires_at':1801000}" },
        { "hold 2 fay A2 --dry-run", "{'status':'held','dry_run':true,'rules':[]}" },
        { "seats 2", "{'taken':{'A2':'(absent)'}}" });
}

/* Refusals name the seat and its state and never the other customer. */
static void test_take_refusals(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1 A2", "{}" }, { "hold 1 bob A3", "{}" },
         { "block 1 B1 --reason secret", "{}" },
         { "book 1 zoe A1", "!TAKEN seat A1 of event 1 is booked {'seat':'A1'}" },
         { "book 1 zoe A1", "!TAKEN free nearby: A4 {'alternative':['A4']}" },
         { "book 1 zoe A1=child", "!TAKEN free nearby: A4=child {'alternative':['A4=child']}" },
         { "hold 1 zoe A3 A4",
           "!TAKEN seat A3 of event 1 is held {'seat':'A3','alternative':['A4','A5']}" },
         { "book 1 zoe B1", "!TAKEN seat B1 of event 1 is blocked {'alternative':['B2']}" },
         { "book 1 zoe A4 A3 2:A1", "!TAKEN A3" }, { "book 1 zoe A4 2:A4 1:A1", "!TAKEN A1" },
         { "seats 2", "{'counts':{'free':10}}" }, { "book 1 zoe A9", "!NOTFOUND A9" },
         { "book 1 zoe A11", "!NOTFOUND A1" }, { "book 1 zoe 9:A4", "!NOTFOUND 9" },
         { "book 9 zoe A4", "!NOTFOUND 9" }, { "book 1 zoe A4 A4", "!BADARG A4" },
         { "book 1 zoe A4 a4", "!BADARG A4" }, { "book 1 zoe A4 A3..A5", "!BADARG A4" },
         { "book 1 zoe A4..B2", "!BADARG A4..B2" }, { "book 1 zoe A4*2", "!BADARG A4" },
         { "book 1 zoe FLOOR*11", "!TAKEN FLOOR" },
         { "book 1 zoe FLOOR*0", "!BADARG a count of 1 or more" },
         { "book 1 zoe", "!BADARG book needs seats" },
         { "book 1 z,e A4", "!BADARG customer: 'z,e' is not an id" },
         { "book 1 zoe A4 --metadata [1]", "!BADARG --metadata is a JSON object" },
         { "book 1 zoe A4 --ttl 5", "!BADARG unknown option --ttl" },
         { "hold 1 zoe A4 --ttl 31m", "!LIMIT 1800 seconds" },
         { "hold 1 zoe A4 --ttl 0", "!BADARG hold" },
         { "hold 1 zoe A4 --ttl -5", "!BADARG --ttl: '-5' is not a duration" },
         { "order $x", "{'seats':['*','*']}" });
}

/* Alternatives are the nearest free neighbours of the same kind: in the row first, never across
 * an aisle, no wheelchair places for those who did not ask for one. Where there are none close by,
 * the nearest of the whole house, of any category. */
static void test_alternatives(void **state)
{
    (void)state;
    PLAY({ "add-event 1 {'rows':[{'row':'A','seats':6,'aisles':[3]},{'row':'B','seats':6,"
           "'accessible':[3,4]},{'row':'C','seats':6,'category':'gold'}]}",
           "{}" },
         { "book 1 ann A2", "{}" }, { "book 1 bob A2", "!TAKEN {'alternative':['A3']}" },
         { "book 1 bob A1 A2", "!TAKEN {'alternative':['A4','A5']}" },
         { "book 1 bob A1 A2 A3 A4", "!TAKEN {'alternative':['C1','C2','C3','C4']}" },
         { "book 1 bob A3..A6", "{}" }, { "book 1 cid A6", "!TAKEN {'alternative':['A1']}" },
         { "book 1 cid A3", "!TAKEN {'alternative':['A1']}" }, { "book 1 cid B1 B2 B5 B6", "{}" },
         { "book 1 dan B1", "!TAKEN {'alternative':['A1']}" }, { "book 1 dan B3", "{}" },
         { "book 1 eve B3", "!TAKEN {'alternative':['B4']}" }, { "book 1 eve A1", "{}" },
         { "book 1 fay B4", "{}" }, { "book 1 fay A1", "!TAKEN {'alternative':['C1']}" },
         { "book 1 fay C1..C6", "{}" }, { "book 1 gil A1", "!TAKEN {'alternative':'(absent)'}" });
    PLAY({ "add-event 1 [{'row':'A','seats':500},{'row':'B','seats':500},{'row':'C','seats':9}]",
           "{}" },
         { "book 1 ann A1..A250", "{}" }, { "book 1 ann A251..A500", "{}" },
         { "book 1 bob A1", "!TAKEN {'alternative':['B1']}" },
         { "book 1 bob A1 A700", "!NOTFOUND" });
}

/* Asking again for what is one's own already is answered, not refused. */
static void test_take_own(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = hold 1 ann A1 A2 --metadata {'n':1}", "{}" },
         { "hold 1 ann A2 A1", "{'order':'$x','status':'held','already':true,'expires_at':601000,"
                               "'seats':[{'event':'1','seat':'A1'},{'seat':'A2'}],"
                               "'metadata':{'n':1}}" },
         { "again", "{'order':'$x','status':'held'}" },
         { "book 1 ann A1 A2", "!TAKEN holds exactly these seats already: confirm" },
         { "hold 1 ann A1", "!TAKEN seat A1 of event 1 is held" },
         { "hold 1 ann A1 A3", "!TAKEN seat A1 of event 1 is held" },
         { "hold 1 bob A1 A2", "!TAKEN seat A1 of event 1 is held {'alternative':['A3','A4']}" },
         { "confirm $x", "{'status':'booked'}" },
         { "book 1 ann A1 A2", "{'order':'$x','already':true,'expires_at':'(absent)'}" },
         { "hold 1 ann A1 A2", "!TAKEN has booked exactly these seats already" });
}

/* best picks seats together, of a category, the same on several events; else places of an area. */
static void test_best(void **state)
{
    (void)state;
    PLAY(
        HOUSE, { "best 1 ann 2", "{'status':'held','expires_at':601000,'seats':['*','*']}" },
        { "best 1 bob 5 --category gold --book",
          "{'status':'booked','expires_at':'(absent)','seats':[{'seat':'B1'},{'seat':'B2'},"
          "{'seat':'B3'},{'seat':'B4'},{'seat':'B5'}]}" },
        { "best 1 cid 1 --category gold", "!TAKEN" }, { "best 1 cid 21", "!TAKEN" },
        { "best 1 cid 9", "{'seats':[{'seat':'FLOOR','count':9}]}" }, { "book 2 dan B2", "{}" },
        { "best 2 eve 3 --category gold --ttl 60",
          "{'expires_at':61000,'seats':[{'seat':'B3'},{'seat':'B4'},{'seat':'B5'}]}" },
        { "best 1,2 fay 2", "{'seats':[{'event':'1'},{'event':'1'},{'event':'2'},{'event':'2'}]}" },
        { "best 1,2 fay 5", "!TAKEN" }, { "best 1,1 fay 1", "!BADARG event '1' is named twice" },
        { "best 1,9 fay 1", "!NOTFOUND there is no event '9'" },
        { "best 1 fay 0", "!BADARG at least 1" }, { "best 1 fay -1", "!BADARG at least 1" },
        { "best 1 fay x", "!BADARG count: 'x' is not an integer" },
        { "best 1 fay 1 --book --ttl 5", "!BADARG exclude each other" },
        { "best 1 fay 1 --category silver", "!NOTFOUND silver" },
        { "best 1 fay", "!BADARG best needs count" });
}

/* extend counts from now, never beyond hold_max after the first hold, and never shortens it. */
static void test_extend(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = hold 1 ann A1", "{'expires_at':601000}" }, { "pass 5m", "" },
         { "extend $x", "{'order':'$x','expires_at':901000}" },
         { "extend $x --ttl 20m", "{'expires_at':1501000}" },
         { "extend $x --ttl 25m", "{'expires_at':1801000}" },
         { "extend $x --ttl 5m", "{'order':'$x','expires_at':1801000,'already':true}" },
         { "extend $x", "{'order':'$x','expires_at':1801000,'already':true}" },
         { "order $x", "{'expires_at':1801000}" },
         { "extend $x --ttl 26m",
           "!LIMIT 1800 seconds in all; this one until 1970-01-01T00:30:01Z" },
         { "extend nobody", "!NOTFOUND nobody" }, { "extend", "!BADARG extend needs order" },
         { "y = book 1 ann A2", "{}" }, { "extend $y", "!CONFLICT the order is booked" },
         { "release $x", "{}" }, { "extend $x", "!CONFLICT the order was released" },
         { "z = hold 1 ann A3", "{}" }, { "pass 10m", "" }, { "extend $z", "!EXPIRED" });
}

/* confirm: once, in time; twice is fine; late only where the policy says so. */
static void test_confirm(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = hold 1 ann A1 --metadata {'a':1}", "{}" },
         { "confirm $x", "{'order':'$x','status':'booked','expires_at':'(absent)',"
                         "'metadata':{'a':1}}" },
         { "again", "{'order':'$x','status':'booked'}" },
         { "confirm $x", "{'order':'$x','status':'booked','already':true}" },
         { "confirm $x --metadata {'b':1}", "!CONFLICT the order is booked already" },
         { "y = hold 1 ann A2", "{}" }, { "confirm $y --metadata {'b':2}", "{'metadata':{'b':2}}" },
         { "z = hold 1 ann A3", "{}" }, { "pass 599s", "" },
         { "confirm $z --dry-run", "{'status':'booked','dry_run':true}" }, { "pass 1s", "" },
         { "order $z", "{'status':'expired'}" },
         { "confirm $z",
           "!EXPIRED the hold has expired and its seats are given up; take them again" },
         { "seats 1", "{'taken':{'A3':'(absent)'}}" }, { "w = hold 1 ann A4", "{}" },
         { "release $w", "{}" }, { "confirm $w", "!CONFLICT the order was released" },
         { "confirm nobody", "!NOTFOUND" }, { "confirm", "!BADARG confirm needs order" });
}

/* A hold whose time is over is over, even before its expiry has been carried out. */
static void test_confirm_late(void **state)
{
    (void)state;
    struct play p;
    play_open(&p);
    const struct play_step steps[] = { HOUSE, { "x = hold 1 ann A1", "{}" } };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        play(&p, steps[i].line, steps[i].want);
    }
    p.now_ms += 600000;
    play(&p, "confirm $x", "!EXPIRED the hold has expired");
    play(&p, "extend $x", "!EXPIRED");
    play(&p, "policy return policy { late_confirm = true }", "");
    play(&p, "confirm $x", "{'order':'$x','status':'booked','seats':[{'seat':'A1'}]}");
    play(&p, "y = hold 1 bob A2", "{}");
    play(&p, "pass 11m", "");
    play(&p, "confirm $y", "{'order':'$y','status':'booked','customer':'bob'}");
    play(&p, "z = hold 1 cid A3", "{}");
    play(&p, "pass 11m", "");
    play(&p, "book 1 dan A3", "{}");
    play(&p, "confirm $z", "!TAKEN A3");
    play_close(&p);
}

/* release is for holds, cancel for both; all of an order or some of its seats. */
static void test_give_back(void **state)
{
    (void)state;
    PLAY(
        HOUSE, { "x = hold 1 ann A1 A2 A3", "{}" },
        { "release $x A2", "{'order':'$x','status':'held','seats':[{'seat':'A1'},{'seat':'A3'}]}" },
        { "release $x A2", "!NOTFOUND A2 is not a seat of this order; its seats are: A1 A3" },
        { "release $x A3 A1", "{'status':'released','expires_at':'(absent)'}" },
        { "release $x", "{'order':'$x','status':'released','already':true}" },
        { "cancel $x", "!CONFLICT the order was released" },
        { "y = book 1 ann A1 A2 FLOOR*5", "{}" },
        { "release $y", "!CONFLICT the order is booked: a release is for holds; cancel it" },
        { "cancel $y FLOOR*2", "{'status':'booked','seats':['*','*',{'seat':'FLOOR','count':3}]}" },
        { "cancel $y FLOOR*4", "!NOTFOUND FLOOR" },
        { "cancel $y A1", "{'seats':[{'seat':'A2'},{'seat':'FLOOR'}]}" },
        { "cancel $y", "{'order':'$y','status':'cancelled'}" }, { "cancel $y", "{'already':true}" },
        { "again", "{'order':'$y','status':'cancelled'}" },
        { "seats 1", "{'counts':{'free':10},'taken':{}}" }, { "z = hold 1 ann A1", "{}" },
        { "cancel $z", "{'status':'cancelled'}" }, { "w = hold 1 ann A1", "{}" },
        { "pass 11m", "" }, { "release $w", "!EXPIRED the order has expired" },
        { "cancel nobody", "!NOTFOUND" }, { "cancel", "!BADARG cancel needs order" },
        { "release", "!BADARG release needs order" });
}

/* Some seats of an order over two events: a bare label is the order's own seat. */
static void test_two_events(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1 2:A2 2:A1", "{}" }, { "cancel $x A1", "!BADARG A1" },
         { "cancel $x A2", "{'seats':[{'event':'1','seat':'A1'},{'event':'2','seat':'A1'}]}" },
         { "cancel $x 2:A1", "{'seats':[{'event':'1','seat':'A1'}]}" });
}

/* cancel-seat finds the order by its seat; without a customer only for operators. */
static void test_cancel_seat(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1 A2", "{}" }, { "y = hold 1 bob A3", "{}" },
         { "block 1 A4", "{}" },
         { "cancel-seat 1 A1 --customer bob", "!NOPERM A1 is not this customer's {'seat':'A1'}" },
         { "client: cancel-seat 1 A1", "!NOPERM only an operator" },
         { "client: cancel-seat 1 A1 --customer ann",
           "{'order':'$x','status':'booked','seats':[{'seat':'A2'}]}" },
         { "operator: cancel-seat 1 A2", "{'order':'$x','status':'cancelled'}" },
         { "cancel-seat 1 A3", "{'order':'$y','status':'released'}" },
         { "cancel-seat 1 A3", "!CONFLICT A3 is free" },
         { "cancel-seat 1 A4", "!CONFLICT A4 is blocked" },
         { "cancel-seat 1 FLOOR", "!BADARG an area" }, { "cancel-seat 1 A9", "!NOTFOUND A9" },
         { "cancel-seat 9 A1", "!NOTFOUND 9" }, { "cancel-seat 1", "!BADARG needs seat" });
}

/* move gives seats up and takes others in one step, and keeps ticket types. */
static void test_move(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1=child A2", "{}" }, { "book 1 bob A3", "{}" },
         { "move $x A1 B1", "{'order':'$x','status':'booked','seats':[{'seat':'A2'},"
                            "{'seat':'B1','type':'child'}]}" },
         { "move $x A2 A1 B1 B2", "{'seats':[{'seat':'A1'},{'seat':'B2','type':'child'}]}" },
         { "move $x A1 A3", "!TAKEN seat A3 of event 1 is booked" },
         { "move $x A2 A4", "!NOTFOUND A2 is not a seat of this order" },
         { "move $x A1", "!BADARG seats come in pairs" },
         { "move $x A1 A2 B2", "!BADARG seats come in pairs" },
         { "move $x A1 FLOOR*2", "!BADARG A1 is 1 places and FLOOR is 2" },
         { "move $x A1 FLOOR*1", "{'seats':['*',{'seat':'FLOOR','count':1}]}" },
         { "move $x B2 2:B2", "{'seats':['*',{'event':'2','seat':'B2','type':'child'}]}" },
         { "y = hold 1 cid A1", "{}" }, { "move $y A1 A2", "{'status':'held'}" },
         { "release $y", "{}" }, { "move $y A2 A1", "!CONFLICT the order was released" },
         { "move nobody A1 A2", "!NOTFOUND" }, { "move $x", "!BADARG move needs seats" });
}

/* No seat gets into a hold that began after its own: swapped from hold to hold it would never come
 * free. What is booked may get any, and a hold what is younger than itself. */
static void test_swap_ages(void **state)
{
    (void)state;
    PLAY({ "add-event 1 [{'row':'A','seats':4},{'row':'B','seats':4}]", "{}" },
         { "o = hold 1 ann A1", "{}" }, { "pass 5m", "" }, { "p = hold 1 bob B1", "{}" },
         { "swap $o A1 $p B1",
           "!LIMIT A1 cannot go into a hold that began after its own {'seat':'A1'}" },
         { "swap $p B1 $o A1", "!LIMIT confirm order $p first {'seat':'A1'}" },
         { "confirm $p", "{}" }, { "swap $o A1 $p B1", "{}" }, { "swap $o B1 $p A1", "{}" },
         { "pass 1m", "" }, { "q = hold 1 cid B2", "{}" }, { "swap $q B2 $p B1", "{}" },
         { "r = book 1 dan B3", "{}" }, { "swap $q B1 $r B3", "{}" });
}

/* swap exchanges one seat of each order. */
static void test_swap(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1 A2", "{}" }, { "y = hold 1 bob B1", "{}" },
         { "s = swap $x A1 $y B1",
           "{'orders':[{'order':'$x','status':'booked','seats':['*','*']},"
           "{'order':'$y','status':'held','seats':[{'seat':'A1'}]}],'index':'*'}" },
         { "swap $x A2 $y A1 --dry-run", "{'dry_run':true}" },
         { "cancel $x A2", "{'seats':[{'seat':'B1'}]}" },
         { "swap $x A1 $y B1", "!NOTFOUND A1 is not a seat of this order; its seats are: B1" },
         { "swap $x B1 $x B1", "!BADARG both orders are the same" },
         { "swap $x B1 nobody A1", "!NOTFOUND nobody" }, { "release $y", "{}" },
         { "swap $x B1 $y A1", "!CONFLICT the order was released" },
         { "swap $x B1", "!BADARG swap needs other" });
}

/* A hook has made $x cheaper than its seat: neither order is left with less than nothing to pay,
 * whichever is named first, and what pays for itself is still exchanged. */
static void test_swap_prices(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { "policy local rules = require 'usher.rules' return policy { price = rules.price_zones { "
           "default = 1000, gold = 5000 }, hooks = { take = function(tx, o) if o.customer == "
           "'ann' then tx:amend(o, { price = 0 }) end end } }",
           "" },
         { "x = book 1 ann B1", "{'price':0}" }, { "y = book 1 bob A1", "{'price':1000}" },
         { "swap $x B1 $y A1", "!CONFLICT order $x would cost -4000" },
         { "swap $y A1 $x B1", "!CONFLICT order $x would cost -4000" },
         { "order $x", "{'price':0,'seats':[{'seat':'B1'}]}" },
         { "z = book 1 cid B2", "{'price':5000}" },
         { "swap $x B1 $z B2", "{'orders':[{'price':0},{'price':5000}],'index':'*'}" },
         { "swap $y A1 $z B1", "{'orders':[{'price':5000},{'price':1000}],'index':'*'}" });
}

/* split makes some seats an order of their own, without freeing them. */
static void test_split(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = hold 1 ann A1 A2 A3 FLOOR*3", "{}" },
         { "s = split $x A2 FLOOR*1",
           "{'orders':[{'order':'$x','seats':[{'seat':'A1'},{'seat':'A3'},{'seat':'FLOOR',"
           "'count':2}]},{'order':'*','status':'held','customer':'ann','expires_at':601000,"
           "'seats':[{'seat':'A2'},{'seat':'FLOOR','count':1}]}]}" },
         { "again", "{'orders':[{'order':'$s1'},{'order':'$s2'}]}" },
         { "confirm $s2", "{'order':'$s2','status':'booked'}" },
         { "order $x", "{'status':'held'}" },
         { "split $x A2", "!NOTFOUND A2 is not a seat of this order" },
         { "split $s2 A2 FLOOR*1", "!BADARG these are all its seats" }, { "release $x", "{}" },
         { "split $x A1", "!CONFLICT the order was released" }, { "split nobody A1", "!NOTFOUND" },
         { "split $x", "!BADARG split needs seats" });
}

/* Places of one area and of several ticket types: those that are named go, whichever came first. */
static void test_types_of_area(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = hold 1 ann FLOOR*3 FLOOR*2=child A1 FLOOR*1=day", "{}" },
         { "s = split $x FLOOR*1=child FLOOR*1=day",
           "{'orders':[{'order':'$x','seats':[{'seat':'FLOOR','count':3},{'seat':'FLOOR','count':1,"
           "'type':'child'},{'seat':'A1'}]},{'seats':[{'seat':'FLOOR','count':1,'type':'child'},"
           "{'seat':'FLOOR','count':1,'type':'day'}]}]}" },
         { "release $x FLOOR*1=child", "{'seats':[{'seat':'FLOOR','count':3},{'seat':'A1'}]}" },
         { "release $x FLOOR*1=child", "!NOTFOUND FLOOR is not a seat of this order" },
         { "hold 1 bob FLOOR*1 FLOOR*1", "!BADARG seat FLOOR is given twice" },
         { "move $x FLOOR*2 FLOOR*2=day",
           "{'seats':[{'seat':'FLOOR','count':1},{'seat':'A1'},{'seat':'FLOOR','count':2,"
           "'type':'day'}]}" },
         { "confirm $x", "{}" },
         { "cancel $x FLOOR*2", "{'seats':[{'seat':'A1'},{'seat':'FLOOR','count':1,"
                                "'type':'day'}]}" });
}

/* block takes free seats out of the sale, unblock puts them back. */
static void test_block(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { "block 1 A1 A2 --reason `wet paint`",
           "{'event':'1','status':'blocked','reason':'wet paint',"
           "'seats':[{'event':'1','seat':'A1'},{'seat':'A2'}],'index':4}" },
         { "again", "{'status':'blocked'}" },
         { "hold 1 ann A1", "!TAKEN seat A1 of event 1 is blocked" }, { "hold 1 ann A3", "{}" },
         { "block 1 A3", "!TAKEN seat A3 of event 1 is held" }, { "block 1 A9", "!NOTFOUND A9" },
         { "unblock 1 A1", "{'status':'free'}" }, { "hold 1 bob A1", "{}" },
         { "seats 1", "{'counts':{'blocked':1}}" }, { "block 1", "!BADARG block needs seats" },
         { "block 9 A1", "!NOTFOUND 9" }, { "unblock 1 A4", "!CONFLICT A4" });
}

/* order and orders: one by its id, many by a filter, oldest first. */
static void test_orders(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1", "{}" }, { "y = hold 2 ann A1", "{}" }, { "pass 1m", "" },
         { "z = book 1 bob A2", "{}" }, { "cancel $x", "{}" },
         { "order $z", "{'order':'$z','customer':'bob','index':'*'}" },
         { "order nobody", "!NOTFOUND nobody" },
         { "orders", "[{'order':'$x'},{'order':'$y'},{'order':'$z'}]" },
         { "orders --customer ann", "[{'order':'$x'},{'order':'$y'}]" },
         { "orders --customer ann --status live", "[{'order':'$y'}]" },
         { "orders --event 1", "[{'order':'$x'},{'order':'$z'}]" },
         { "orders --status cancelled", "[{'order':'$x'}]" },
         { "orders --status HELD", "[{'order':'$y'}]" },
         { "orders --since 61000", "[{'order':'$x'},{'order':'$z'}]" },
         { "orders --limit 2", "['*','*']" }, { "orders --limit 2 --after $y", "[{'order':'$z'}]" },
         { "orders --customer nobody", "[]" }, { "orders --event 9", "!NOTFOUND 9" },
         { "orders --status gone", "!BADARG --status: 'gone' is not one of" },
         { "orders --limit 0", "!BADARG --limit is 1 to 1000" },
         { "orders --limit 1001", "!BADARG --limit is 1 to 1000" });
}

/* A list that is cut says how to go on, and going on gives the rest. */
static void test_list_limit(void **state)
{
    (void)state;
    struct play p;
    char line[200];
    play_open(&p);
    play(&p, "add-event 1 [{'row':'A','seats':1200}]", "{}");
    for (int i = 1; i <= 1001; i++) {
        snprintf(line, sizeof line, "x = book 1 ann A%d", i);
        play(&p, line, "{}");
        if (i == 999 || i == 1000) {
            memcpy(p.ids[i == 999 ? 'l' - 'a' : 'm' - 'a'], p.last_order, sizeof p.last_order);
        }
    }
    play(&p, "orders --customer ann --after $l", "[{'seats':[{'seat':'A1000'}]},{'order':'$x'}]");
    struct span words[] = { span_of("orders"), span_of("--customer"), span_of("ann") };
    snprintf(line, sizeof line, ",{\"more\":true,\"next\":\"orders --customer ann --after %s\"}]",
             p.ids['m' - 'a']);
    assert_ends(&p, words, 3, line);
    play_close(&p);
}

/* explain tells which policy granted an order, and by which rules. */
static void test_explain(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1", "{}" },
         { "explain $x", "{'order':'$x','status':'booked','judged':true,'policy':{'version':0},"
                         "'current_rules':[{'event':'1','rules':[],'hold_ttl_ms':600000}],"
                         "'changed_index':4,'index':'*'}" },
         { "policy return policy { name = 'p', hold_ttl = '5m', rules = { rule { name = 'mine', "
           "check = function() return true end } } }",
           "" },
         { "y = hold 1 ann A2 2:A2", "{'expires_at':301000}" },
         { "explain $y", "{'policy':{'version':1},'current_rules':[{'event':'1','rules':['mine']},"
                         "{'event':'2'}]}" },
         { "explain nobody", "!NOTFOUND" },
         { "policy return policy { rules = { function() return nil, { message = 'closed house' } "
           "end "
           "}, commands = { command { name = 'gift', summary = 'past the rules', example = 'gift 1 "
           "ann A1', args = { { 'event', 'event' }, { 'customer', 'customer' }, { 'seats', 'seat', "
           "many = true } }, run = function(tx, req) return tx:take { customer = req.customer, "
           "seats = req.seats, rules = false } end } } }",
           "" },
         { "book 1 bob B1", "!DENIED closed house" },
         { "z = gift 1 bob B1", "{'status':'booked'}" },
         { "explain $z", "{'judged':false,'policy':{'version':2}}" });
}

/* forget replaces a customer everywhere and drops what was noted. */
static void test_forget(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = book 1 ann A1 --metadata {'name':'Ann'}", "{}" }, { "book 2 bob A1", "{}" },
         { "forget ann", "{'forgotten':true,'customer':'~forgotten-','index':'*'}" },
         { "order $x", "{'status':'booked','customer':'~forgotten-','metadata':'(absent)'}" },
         { "orders --customer ann", "[]" }, { "orders --customer bob", "['*']" },
         { "forget ann", "!NOTFOUND no order" }, { "forget", "!BADARG forget needs customer" });
}

/* get, set, keys: any JSON value, plain words as they are. */
static void test_values(void **state)
{
    (void)state;
    PLAY({ "set presale {'b':[],'a':1}", "{'key':'presale','value':{'a':1,'b':[]},'index':1}" },
         { "again", "{'key':'presale','value':{'a':1}}" },
         { "get presale", "{'key':'presale','value':{'a':1,'b':[]},'index':'*'}" },
         { "set mode strict", "{'value':'strict'}" }, { "set n 5", "{'value':5}" },
         { "set off false", "{'value':false}" }, { "get off", "{'value':false}" },
         { "set x {", "!BADARG value: JSON" }, { "set `` 5", "!BADARG a key has 1 to 512" },
         { "get nothing", "!NOTFOUND nothing is kept under 'nothing'" },
         { "keys", "['mode','n','off','presale']" }, { "keys p", "['presale']" },
         { "keys --after n", "['off','presale']" }, { "set n", "{'key':'n','value':'(absent)'}" },
         { "get n", "!NOTFOUND" }, { "keys n", "[]" }, { "set", "!BADARG set needs key" },
         { "set n null", "{'value':'(absent)'}" });
}

/* --dry-run evaluates and changes nothing, for commands of every kind. */
static void test_dry_run(void **state)
{
    (void)state;
    PLAY(HOUSE, { "x = hold 1 ann A1", "{}" },
         { "add-event 3 hall --dry-run", "{'event':'3','dry_run':true}" },
         { "event 3", "!NOTFOUND" }, { "close-event 1 --dry-run", "{'dry_run':true}" },
         { "event 1", "{'status':'open'}" }, { "confirm $x --dry-run", "{'status':'booked'}" },
         { "release $x --dry-run", "{'status':'released'}" },
         { "split $x A1 --dry-run", "!BADARG" }, { "block 1 A2 --dry-run", "{'dry_run':true}" },
         { "set k 5 --dry-run", "{'value':5}" }, { "get k", "!NOTFOUND" },
         { "best 1 bob 2 --dry-run", "{'dry_run':true}" },
         { "book 1 bob A1 --dry-run", "!TAKEN seat A1 of event 1 is held" },
         { "order $x", "{'status':'held'}" });
}

/* Help shows what the design promises of every command. */
static void test_usages(void **state)
{
    (void)state;
    static const char *const usages[] = {
        "add-chart ID JSON|@FILE",
        "add-event ID CHART|ROWS-JSON [--attributes J] [--rules R] [--currency C]",
        ("best EVENT[,EVENT...] CUSTOMER COUNT [--category C] [--ttl D] [--book] [--split] "
         "[--code C]... [--metadata J]"),
        "block EVENT SEAT... [--reason T]",
        "book EVENT CUSTOMER SEAT... [--code C]... [--metadata J]",
        "cancel ORDER [SEAT...]",
        "cancel-seat EVENT SEAT [--customer C]",
        "charts [--after CHART]",
        "close-event EVENT",
        "confirm ORDER [--code C]... [--metadata J]",
        "event EVENT",
        "events [--after EVENT]",
        "explain ORDER",
        "extend ORDER [--ttl D]",
        "forget CUSTOMER",
        "get KEY",
        "hold EVENT CUSTOMER SEAT... [--ttl D] [--code C]... [--metadata J]",
        "keys [PREFIX] [--after KEY]",
        "move ORDER FROM TO... [--code C]...",
        "open-event EVENT",
        "order ORDER",
        "orders [--customer C] [--event E] [--status S] [--since T] [--limit N] [--after ORDER]",
        "release ORDER [SEAT...]",
        "remove-event EVENT [--cancel-orders]",
        "seats EVENT [--full] [--customer C]",
        "set KEY [VALUE]",
        "set-event EVENT [--attributes J] [--rules R] [--chart C]",
        "split ORDER SEAT...",
        "swap ORDER SEAT ORDER SEAT [--code C]...",
        "unblock EVENT SEAT... [--reason T]",
    };
    struct play p;
    play_open(&p);
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++) {
        struct span name = span_make(usages[i], strcspn(usages[i], " "));
        const struct command_def *def = registry_find(p.registry, name);
        struct buf usage = BUF_INIT;
        assert_non_null(def);
        command_usage(def, &usage);
        buf_put_u8(&usage, 0);
        assert_string_equal((char *)usage.data, usages[i]);
        buf_free(&usage);
        assert_true(def->summary != NULL && def->summary[0] != 0);
        assert_true(strncmp(def->example, def->name, strlen(def->name)) == 0);
        assert_true(def->group != NULL && def->group[0] != 0);
    }
    play_close(&p);
}

/* Every command has the access level and the kind of read that the design says. */
static void test_levels(void **state)
{
    (void)state;
    static const struct {
        const char *names;
        int access, read;
    } rows[] = {
        { "seats events event", ACCESS_PUBLIC, READ_LOCAL },
        { "hold book best extend confirm release cancel cancel-seat move swap split", ACCESS_CLIENT,
          READ_NONE },
        { "order explain", ACCESS_CLIENT, READ_LINEARIZABLE },
        { "orders keys charts", ACCESS_OPERATOR, READ_LOCAL },
        { "get", ACCESS_OPERATOR, READ_LINEARIZABLE },
        { "add-chart add-event set-event open-event close-event remove-event block unblock "
          "forget set",
          ACCESS_OPERATOR, READ_NONE },
    };
    struct play p;
    char names[300];
    size_t count = 0;
    play_open(&p);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(names, sizeof names, "%s", rows[i].names);
        for (char *name = strtok(names, " "); name != NULL; name = strtok(NULL, " "), count++) {
            const struct command_def *def = registry_find(p.registry, span_of(name));
            assert_non_null(def);
            if (def->access != rows[i].access || def->read != rows[i].read) {
                fail_msg("%s: access %s, read %d", name, access_name(def->access), def->read);
            }
        }
    }
    assert_int_equal(count, 30);
    play_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take),          cmocka_unit_test(test_take_refusals),
        cmocka_unit_test(test_take_own),      cmocka_unit_test(test_alternatives),
        cmocka_unit_test(test_best),          cmocka_unit_test(test_extend),
        cmocka_unit_test(test_confirm),       cmocka_unit_test(test_confirm_late),
        cmocka_unit_test(test_give_back),     cmocka_unit_test(test_two_events),
        cmocka_unit_test(test_cancel_seat),   cmocka_unit_test(test_move),
        cmocka_unit_test(test_swap_ages),     cmocka_unit_test(test_swap),
        cmocka_unit_test(test_swap_prices),   cmocka_unit_test(test_split),
        cmocka_unit_test(test_types_of_area), cmocka_unit_test(test_block),
        cmocka_unit_test(test_orders),        cmocka_unit_test(test_list_limit),
        cmocka_unit_test(test_explain),       cmocka_unit_test(test_forget),
        cmocka_unit_test(test_values),        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_usages),        cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
