import pytest

from loadtests.load_profiles import PROFILES


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_goes_from_start_to_end_and_reaches_its_peak(name: str):
    profile = PROFILES[name]
    times = [time for time, _ in profile.course]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0, 1)
    users = [profile.users_at(step / 1_000) for step in range(1_001)]
    assert (min(users) >= 1, max(users)) == (True, profile.peak_users)


def test_a_spike_is_ten_times_what_was_before_and_comes_after_and_rises_within_seconds():
    spike = PROFILES["spike"]
    users = [spike.users_at(second / spike.seconds) for second in range(int(spike.seconds))]
    assert users[0] == users[-1] == max(users) / 10
    rising = [second for second, n in enumerate(users) if users[0] < n < max(users)]
    assert len([second for second in rising if second < spike.seconds / 2]) < 10


def test_another_peak_and_another_time_leave_the_course_as_it_is():
    steady = PROFILES["steady"]
    short = steady.scaled(10, 60)
    assert (short.seconds, short.users_at(0.045), short.users_at(0.5)) == (60, 5, 10)
    assert steady.scaled(None, None) == steady
