-- Guests are found at once, and where there are none, so is that.

CREATE INDEX users_guests ON users (user_id) WHERE is_guest;
