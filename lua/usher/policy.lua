--- What a policy is made of: `policy{...}`, `rule{...}` and `deny{...}` (docs/lua.md, 3).
---
--- These three are globals of every bundle. They check what an author wrote when the bundle
--- is loaded, so that a misspelt key is found at deployment and not during a sale, and they
--- bring it into one form that the policy VM reads.
local near = require "usher.near"

local M = {}

---@class Denial
---@field code string one of the error codes; "DENIED" when not given
---@field message string
---@field hint? string what to do next
---@field otherwise? string the hint when no alternative is found
---@field seat? Seat|string the seat it is about
---@field alternative? (Seat|string)[] seats to try first: named when all rules would grant them instead
---@field rule? string set by the runner

---@class Rule
---@field name string
---@field code string code of a refusal by this rule
---@field message? string text of a refusal; SEAT stands for the seat's label
---@field hint? string
---@field exempt table<string, true> roles that this rule does not concern
---@field on table<string, true> verbs it judges: take, reseat, confirm, extend, wait
---@field seat? fun(tx: Tx, ask: Ask, seat: Seat): boolean judges one seat
---@field check? fun(tx: Tx, ask: Ask): true|nil, Denial? judges the whole party

local UNITS = { ms = 1, s = 1000, m = 60000, h = 3600000, d = 86400000 }

--- A duration in ms: a number of seconds, or a text such as "90", "15m", "2h".
---@param value integer|string
---@return integer|nil ms nil when it is no duration
function M.duration(value)
    if math.type(value) == "integer" then return value >= 0 and value * 1000 or nil end
    if type(value) ~= "string" then return nil end
    local number, unit = value:match("^(%d+)(%a*)$")
    local factor = UNITS[unit == "" and "s" or unit]
    return number and factor and math.tointeger(number) * factor
end

local function misuse(level, text, ...) error(text:format(...), level + 1) end

--- Refuses unknown keys: the commonest mistake in a policy is a misspelt one.
local function check_keys(what, t, known, level)
    for key in pairs(t) do
        if known[key] == nil then
            misuse(level + 1, "%s: unknown key '%s'%s", what, tostring(key), near.hint(key, known))
        end
    end
end

local function check_type(what, value, wanted, level)
    if value ~= nil and type(value) ~= wanted then
        misuse(level + 1, "%s is a %s, not a %s", what, type(value), wanted)
    end
end

--- What makes a table no list, as the end of an error behind its name; nil when nothing does. `ipairs`
--- ends at a hole, which is a misspelt name, and sees no key that is a name: what comes after would be
--- left out in silence.
---@param list table
---@return string|nil
function M.list_fault(list)
    local last = 0
    for key in pairs(list) do
        if math.type(key) ~= "integer" or key < 1 then
            return (" has the key '%s': it is a list"):format(tostring(key))
        end
        last = math.max(last, key)
    end
    for i = 1, last do
        if list[i] == nil then return ("[%d] is nil: is its name right?"):format(i) end
    end
end

local function check_list(what, list, level)
    local fault = M.list_fault(list)
    if fault then misuse(level + 1, "%s%s", what, fault) end
end

--- What the functions of usher.rules are called, for those who forget to call them.
---@type table<function, string>
M.makers = {}

local function check_called(what, value, level)
    local name = type(value) == "function" and M.makers[value]
    if name then misuse(level + 1, "%s is the function %s: call it", what, name) end
end

local function has_number(t)
    for key in pairs(t) do
        if type(key) == "number" then return true end
    end
    return false
end

-- A list of names as a set; a set is one already: that of a rule that was made before.
local function set_of(list, what, level)
    local set = {}
    if type(list) == "string" then list = { list } end
    check_type(what, list, "table", level + 1)
    local numbered = list and has_number(list)
    if numbered then check_list(what, list, level + 1) end
    for key, value in pairs(list or {}) do
        local name = numbered and value or key
        if type(name) ~= "string" then misuse(level + 1, "%s: a list of names is expected", what) end
        if not numbered and value ~= true then
            misuse(level + 1, "%s.%s is a %s, not true", what, name, type(value))
        end
        set[name] = true
    end
    return set
end

local CODES = {}
for code in ([[BADARG NOTFOUND TAKEN LIMIT DENIED EXPIRED CONFLICT NOQUORUM NOTREADY UNKNOWN NOAUTH NOPERM
    BUSY TOOBIG NOSPACE INTERNAL]]):gmatch("%u+") do
    CODES[code] = true
end

-- `rule` and `policy` are there when a denial is passed on, `singles` is for the shipped rules.
local DENIAL = { code = true, message = true, hint = true, otherwise = true, seat = true, alternative = true,
    rule = false, policy = false, singles = false }

local function wrong_code(code)
    if code == nil or CODES[code] then return nil end
    return ("there is no code '%s'%s"):format(tostring(code), near.hint(code, CODES))
end

local TEXTS = { "message", "hint", "otherwise" }

--- What is wrong with the members of a denial, wherever it comes from, or nil.
---@param denial table
---@return string|nil
function M.wrong_members(denial)
    for _, key in ipairs(TEXTS) do
        local kind = type(denial[key])
        if kind ~= "string" and kind ~= "number" and kind ~= "nil" then
            return ("%s is a %s, not a text"):format(key, kind)
        end
    end
    local seat, alternative = type(denial.seat), type(denial.alternative)
    if seat == "number" or seat == "boolean" or seat == "function" then
        return ("seat is a %s, not a seat or its label"):format(seat)
    end
    if alternative ~= "table" and alternative ~= "nil" then
        return ("alternative is a %s, not a list of seats"):format(alternative)
    end
    return wrong_code(denial.code)
end

--- What is wrong with a denial as an author writes it, or nil.
---@param denial table
---@return string|nil
function M.wrong_denial(denial)
    for key in pairs(denial) do
        if DENIAL[key] == nil then
            return ("unknown key '%s'%s"):format(tostring(key), near.hint(key, DENIAL))
        end
    end
    return M.wrong_members(denial)
end

--- Refuses what is being asked for. Never returns.
---@param denial Denial|string
function M.deny(denial)
    if type(denial) == "string" then denial = { message = denial } end
    if type(denial) ~= "table" then error("deny: a table or a text is expected", 2) end
    local wrong = M.wrong_denial(denial)
    if wrong then error("deny: " .. wrong, 2) end
    local out = {}
    for key, value in pairs(denial) do out[key] = value end
    out.code = out.code or "DENIED"
    error(out, 0)
end

local RULE_KEYS = { name = true, code = true, message = true, hint = true, exempt = true,
    on = true, seat = true, check = true, overbook = false,
    exempts = false }
local VERBS = { take = true, reseat = true, confirm = true, extend = true, wait = true }

--- Makes a rule. A bare function is a `check`.
---@param spec table|function
---@return Rule
function M.rule(spec)
    if type(spec) == "function" then spec = { check = spec } end
    if type(spec) ~= "table" then error("rule: a table or a function is expected", 2) end
    check_keys("rule", spec, RULE_KEYS, 2)
    check_type("rule: seat", spec.seat, "function", 2)
    check_type("rule: check", spec.check, "function", 2)
    for _, key in ipairs { "name", "code", "message", "hint" } do
        check_type("rule: " .. key, spec[key], "string", 2)
    end
    local wrong = wrong_code(spec.code)
    if wrong then error("rule: " .. wrong, 2) end
    if not spec.seat and not spec.check then
        error("rule: `seat` or `check` is needed, or nothing would be judged", 2)
    end
    local what = spec.name and "rule " .. spec.name or "rule"
    local on = set_of(spec.on or { "take", "reseat" }, what .. ": on", 2)
    if next(on) == nil then misuse(2, "%s: on is empty: nothing would be judged", what) end
    for verb in pairs(on) do
        if not VERBS[verb] then misuse(2, "%s: on: no such verb as '%s'%s", what, verb, near.hint(verb, VERBS)) end
    end
    if on.wait and not spec.check then
        misuse(2, '%s: on: "wait" asks `check`, which is missing: who waits has no seats yet', what)
    end
    local out = {}
    for key, value in pairs(spec) do out[key] = value end
    out.code = spec.code or "DENIED"
    out.exempt = set_of(spec.exempt, what .. ": exempt", 2)
    out.exempts = next(out.exempt) ~= nil or nil
    out.on = on
    return out
end

local function rule_list(list, what, level)
    if type(list) == "function" or type(list) == "table" and (list.check or list.seat) then
        misuse(level + 1, "%s is a rule, not a list of rules", what)
    end
    check_type(what, list, "table", level + 1)
    check_list(what, list, level + 1)
    local out = {}
    for i, entry in ipairs(list) do
        if type(entry) ~= "table" and type(entry) ~= "function" then
            misuse(level + 1, "%s[%d] is a %s, not a rule", what, i, type(entry))
        end
        check_called(("%s[%d]"):format(what, i), entry, level + 1)
        local one = M.rule(entry) -- a copy: the same rule may stand in several lists
        one.name = one.name or "rule " .. i
        out[i] = one
    end
    return out
end

-- Commands, or lists of them as modules return.
local function check_commands(list, what, level)
    if type(list) == "table" and list.name ~= nil then
        misuse(level + 1, "%s is a command, not a list of commands", what)
    end
    check_type(what, list, "table", level + 1)
    check_list(what, list, level + 1)
    for i, entry in ipairs(list) do
        if type(entry) == "table" and entry.name == nil then
            check_commands(entry, ("%s[%d]"):format(what, i), level + 1)
        end
    end
    return list
end

-- The rules of each verb, as the runner goes through them.
local function judges_of(rules)
    local out = {}
    for verb in pairs(VERBS) do
        out[verb] = {}
        for _, one in ipairs(rules) do
            if one.on[verb] then table.insert(out[verb], one) end
        end
    end
    return out
end

local HOOKS = { take = true, confirm = true, reseat = true, release = true, cancel = true,
    expire = true }

local function hook_table(hooks, what, level)
    check_type(what, hooks, "table", level + 1)
    for name, hook in pairs(hooks or {}) do
        if not HOOKS[name] then
            misuse(level + 1, "%s: no such hook as '%s'%s", what, tostring(name), near.hint(name, HOOKS))
        end
        check_type(what .. "." .. name, hook, "function", level + 1)
    end
    return hooks or {}
end

local function duration_of(spec, key, default, what, level)
    if spec[key] == nil then return default end
    local ms = M.duration(spec[key])
    if not ms or ms == 0 then
        misuse(level + 1, "%s: %s is not a duration such as \"15m\"", what, key)
    end
    return ms
end

local BEST = { score = true, orphans = true }

-- How tx:best chooses when a command does not say otherwise.
local function best_settings(best, what, level)
    check_type(what, best, "table", level + 1)
    check_keys(what, best, BEST, level + 1)
    if best.score ~= nil and type(best.score) ~= "function" and type(best.score) ~= "table" then
        misuse(level + 1, "%s: score is a function, or one of usher.scores", what)
    end
    return best
end

local SETTINGS = { hold_ttl = true, hold_max = true, wait_ttl = true, late_confirm = true, best = true,
    rules = true, price = true, hooks = true, settings = true }
local POLICY = { name = true, rulesets = true, commands = true }
for key in pairs(SETTINGS) do POLICY[key] = true end

--- What a ruleset and the policy itself have in common; `base` gives what it leaves out.
local function settings(spec, base, what, level)
    local out = {}
    for key, value in pairs(base) do out[key] = value end
    for key, value in pairs(spec) do out[key] = value end
    out.hold_ttl = duration_of(spec, "hold_ttl", base.hold_ttl, what, level + 1)
    out.hold_max = duration_of(spec, "hold_max", base.hold_max, what, level + 1)
    if out.hold_max < out.hold_ttl then
        if spec.hold_max then misuse(level + 1, "%s: hold_max is shorter than hold_ttl", what) end
        out.hold_max = out.hold_ttl
    end
    -- Cut, not refused: a node whose active policy does not load any more would sell without rules.
    out.wait_ttl = math.min(duration_of(spec, "wait_ttl", base.wait_ttl, what, level + 1), out.hold_max)
    check_type(what .. ": price", spec.price, "function", level + 1)
    check_called(what .. ": price", spec.price, level + 1)
    check_type(what .. ": late_confirm", spec.late_confirm, "boolean", level + 1)
    out.best = spec.best and best_settings(spec.best, what .. ": best", level + 1) or base.best
    out.rules = spec.rules ~= nil and rule_list(spec.rules, what .. ": rules", level + 1) or base.rules
    out.judges = judges_of(out.rules)
    out.hooks = spec.hooks ~= nil and hook_table(spec.hooks, what .. ": hooks", level + 1) or base.hooks
    return out
end

local DEFAULTS = { hold_ttl = 600000, hold_max = 1800000, wait_ttl = 900000, rules = {}, hooks = {} }

--- Makes the policy that a bundle's policy.lua returns. Without rules a free seat may be
--- taken; holds last 10 minutes, 30 in all. A ruleset inherits what it does not set.
---@param spec table
---@return table
function M.policy(spec)
    if type(spec) ~= "table" then error("policy: a table is expected", 2) end
    check_keys("policy", spec, POLICY, 2)
    check_type("policy: name", spec.name, "string", 2)
    check_type("policy: rulesets", spec.rulesets, "table", 2)
    local out = settings(spec, DEFAULTS, "policy", 2)
    out.name = spec.name or "policy"
    out.commands = spec.commands ~= nil and check_commands(spec.commands, "policy: commands", 2) or {}
    out.rulesets = {}
    local base = {}
    for key in pairs(SETTINGS) do base[key] = out[key] end
    base.wait_ttl = duration_of(spec, "wait_ttl", DEFAULTS.wait_ttl, "policy", 2) -- a set may hold longer
    for name, set in pairs(spec.rulesets or {}) do
        if type(name) ~= "string" or type(set) ~= "table" then
            error("policy: rulesets is a table of named tables", 2)
        end
        check_keys("ruleset " .. name, set, SETTINGS, 2)
        out.rulesets[name] = settings(set, base, "ruleset " .. name, 2)
    end
    return out
end

return M
