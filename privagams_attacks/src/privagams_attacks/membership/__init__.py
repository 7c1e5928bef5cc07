"""Membership: was this patient among those whom the release was made from?"""
