--- When seats are sold.
local common = require "usher.rules.common"
local policy = require "usher.policy"
local rule = policy.rule

local M = {}

-- codes = { "FAN", "CLUB" } are good from `from` on; { FAN = time } each from its own time on.
local function codes_of(codes)
    if codes == nil then return nil end
    local out, any, list = {}, false, {}
    if type(codes) == "table" then
        for key, value in pairs(codes) do
            any = true
            if math.type(key) == "integer" and type(value) == "string" then
                out[value], list[key] = true, value
            elseif type(key) == "string" then
                out[key] = common.moment(value)
                    or common.misuse(3, "window: the time of code '%s' is no time", key)
            else
                any = false
                break
            end
        end
    end
    local fault = policy.list_fault(list)
    if fault then common.misuse(3, "window: codes%s", fault) end
    if not any then common.misuse(3, "window: codes is a list of texts, or a table of code = time") end
    return out
end

---@class WindowSpec
---@field from? integer|string
---@field to? integer|string
---@field codes? string[]|table<string, integer|string>
---@field exempt? string[]

--- When seats are sold, by the time of the entry; times are UTC, or "-30d" before the event's
--- attribute `start`.
---   without codes: nothing is sold before `from`, nor from `to` on
---   with codes (a presale): nothing before `from`; until `to` only with one of the codes;
---   from `to` on for everybody. codes = { GOLD = time, FAN = time } are good each from its time
---@param spec WindowSpec
---@return Rule
function M.window(spec)
    local codes, copy = codes_of(spec and spec.codes), {}
    for key, value in pairs(spec or {}) do
        if key ~= "codes" then copy[key] = value end
    end
    local given = common.read("window", copy, { from = "moment", to = "moment" })
    if not (given.from or given.to or codes) then common.misuse(2, "window: from, to or codes are needed") end
    local a, b = common.time(copy.from), common.time(copy.to)
    if a and b and b <= a then common.misuse(2, "window: it ends before it begins") end

    local function has_code(tx, ask)
        for code, from in pairs(codes) do
            if ask.codes[code] and (from == true or tx.now >= from(ask.event)) then return true end
        end
        return false
    end

    return rule {
        name = "window", exempt = given.exempt,
        check = function(tx, ask)
            local to = given.to and given.to(ask.event)
            if given.from and tx.now < given.from(ask.event) then
                return nil, { message = "the sale has not begun", hint = "come back later" }
            end
            if not codes then
                if to and tx.now >= to then return nil, { message = "the sale has ended" } end
                return true
            end
            if (to and tx.now >= to) or has_code(tx, ask) then return true end
            return nil, { message = "this is a presale, for those who have a code",
                hint = "give it with --code" }
        end,
    }
end

return M
