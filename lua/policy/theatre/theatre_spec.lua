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

    -- What is free, by label; `look` is taken before and after a step of the random customers.
    local function look(h)
        local free = {}
        for _, seat in ipairs(h:seats()) do free[seat.label] = seat.status == "free" end
        return free
    end

    -- Alone inside the row: taken on both sides (an aisle or the row's end is no side).
    local function alone(seat, free)
        local left, right = seat:next(-1), seat:next(1)
        return free[seat.label] and left and right and not free[left.label] and not free[right.label]
    end

    -- Could `n` neighbours of a category have sat elsewhere without leaving anybody alone?
    local function avoidable(h, free, n, category)
        for _, first in ipairs(h:seats()) do
            local block, seat = {}, first
            while seat and free[seat.label] and seat.category == category and #block < n do
                block[#block + 1], seat = seat, seat:next(1)
            end
            if #block == n then
                for _, one in ipairs(block) do free[one.label] = false end
                local before, after = first:next(-1), block[n]:next(1)
                local single = before and alone(before, free) or after and alone(after, free)
                for _, one in ipairs(block) do free[one.label] = true end
                if not single then return true end
            end
        end
        return false
    end

    it("never leaves a seat alone inside a row that a party could have spared", function()
        local was, store
        local GIVES_BACK = { release = true, cancel = true, ["cancel-seat"] = true, pass = true }
        test.property {
            policy = "policy.lua", rows = { "A stalls: ....|......", "B circle: .........." },
            events = EVENTS, now = "2026-03-01", types = { "student" }, party = 4, customers = 300,
            holds = function(h, step)
                local before, free = store == h.store and was or {}, look(h)
                was, store = free, h.store
                local taken = {}
                for _, seat in ipairs(h:seats()) do
                    if before[seat.label] ~= false and not free[seat.label] then taken[#taken + 1] = seat end
                end
                -- giving back is nobody's fault, also when somebody who waits gets a part of it
                if #taken == 0 or GIVES_BACK[step.line[1]] then return true end
                local met = {} -- what the party could choose from: what it gave up, too
                for label, now in pairs(free) do met[label] = now or before[label] ~= false end
                for _, seat in ipairs(h:seats()) do
                    if alone(seat, free) and not (before[seat.label] ~= nil and alone(seat, before))
                        and avoidable(h, met, #taken, taken[1].category) then
                        return false, seat.label .. " was left alone"
                    end
                end
            end,
        }
    end)
end)
