local test = require "usher.test"

local EVENTS = { ["1"] = { attributes = { start = "2026-05-01 20:00" } } }

local function house(rows)
    return test.house { policy = "policy.lua", rows = rows or { "A stalls: ....|......", "B circle: .........." },
        events = EVENTS, now = "2026-04-01" }
end

describe("the theatre", function()
    it("leaves nobody a single seat", function()
        local h = house()
        h:grants "hold 1 ann A5 A6"
        h:refuses("book 1 bob A8", { rule = "no_orphans", seat = "A7", alternative = { "A9" } })
        h:grants "book 1 bob A7"
        h:grants "book 1 cid A2" -- A1 stays, but at the row's end
    end)

    it("lets the last ones sit where they can", function()
        local h = house { "A stalls: x..x" }
        h:grants "book 1 ann A2"
    end)

    it("knows students in the circle and no other discounts", function()
        local h = house()
        h:grants("book 1 ann B5=student B6", { price = 6500 })
        h:refuses("book 1 bob B1=child", { code = "BADARG", rule = "price_zones" })
    end)

    it("gives the box office as many seats as it needs", function()
        local h = house()
        h:refuses("book 1 club B1..B8", { rule = "max_per_customer" })
        h:grants("book 1 club B1..B8", { user = { roles = { "box-office" } } })
    end)

    it("confirms late when the seats are still there, but judges again", function()
        local h = house()
        h:play "o = hold 1 ann A5 A6\np = hold 1 bob B1 B2"
        h:pass "16m"
        h:grants("confirm $o", { status = "booked" })
        h:grants "book 1 cid B1 B2"
        h:refuses("confirm $p", { code = "TAKEN" })
    end)

    it("sells nothing once the play has begun", function()
        local h = house()
        h:at "2026-05-01 20:00"
        h:refuses("book 1 ann A5", { rule = "window", message = "ended" })
    end)

    it("never leaves a seat alone inside a row by taking others", function()
        local before, store
        local function look(h)
            local now = {}
            for _, seat in ipairs(h:seats()) do
                local left, right = seat:next(-1), seat:next(1)
                now[seat.label] = { free = seat.status == "free", alone = seat.status == "free" and left and right
                    and left.status ~= "free" and right.status ~= "free" }
            end
            return now
        end
        test.property {
            policy = [[local rules = require "usher.rules"
                return policy { rules = { rules.no_orphans { aisles = true } } }]],
            rows = { "A: ....|......", "B: .........." }, party = 4,
            customers = tonumber(os.getenv "USHER_CUSTOMERS") or 300,
            holds = function(h)
                local now, took, alone = look(h), false, nil
                local was = store == h.store and before or {}
                for label, seat in pairs(now) do
                    local old = was[label] or { free = true }
                    took = took or (old.free and not seat.free)
                    if seat.alone and not old.alone then alone = label end
                end
                before, store = now, h.store
                if took and alone then return false, alone .. " was left alone" end
            end,
        }
    end)
end)
